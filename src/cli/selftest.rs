//! `shadegrad selftest`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Instant;

use indicatif::ProgressBar;

use crate::gpu::{GpuOptions, Sources};
use crate::lab::LabError;
use crate::selftest::{self, Progress, Report, Row, Verdict};
use crate::{files, kept};

use super::{Device, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the whole report to this file: adapter, driver, limits, features, and every kernel's error. Attach it to a
    /// bug report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every kernel's text to this folder as the driver is given it, constants before it and loops written out: to be
    /// read, or translated by other tools
    #[arg(long, value_name = "DIR")]
    sources: Option<PathBuf>,
}

/// A bar on a terminal, a line for each part elsewhere.
struct Display {
    bar: ProgressBar,
    /// What is under way, and since when: there may be several.
    begun: Vec<(String, Instant)>,
    parts: usize,
}

impl Progress for Display {
    fn part(&mut self, name: &str) {
        self.bar.set_message(format!("{name}, "));
        self.begun.push((name.to_owned(), Instant::now()));
    }

    fn done(&mut self, name: &str, failures: usize) {
        self.parts += 1;
        self.bar.inc(1);
        let Some(place) = self.begun.iter().position(|(begun, _)| begun == name) else { return };
        let (_, begun) = self.begun.remove(place);
        if let Some((other, _)) = self.begun.last() {
            self.bar.set_message(format!("{other}, "));
        }
        if !std::io::stderr().is_terminal() {
            let failed = if failures > 0 { format!(", {failures} FAILED so far") } else { String::new() };
            let took = output::duration(begun.elapsed().as_secs_f64());
            output::complain(&format!("[{:>2}/{}] {name} ({took}){failed}", self.parts, selftest::COUNT));
        }
    }
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    // A file that cannot be written is known before the minute that leads up to it.
    if let Some(path) = &args.json {
        files::write(path, b"{}\n")?;
    }
    if let Some(folder) = &args.sources {
        files::prepare_folder(folder)?;
    }
    let sources = args.sources.as_ref().map(|_| Sources::default());
    let options = GpuOptions { sources: sources.clone(), ..device.options() };
    let gpu = selftest::open(&options)?;
    output::adapter(gpu.adapter(), false);
    let adapter = selftest::details(device.adapter.as_deref())?;
    let bar = output::bar(selftest::COUNT, "selftest", "parts");
    let mut display = Display { bar, begun: Vec::new(), parts: 0 };
    let report = selftest::run(&gpu, &options, adapter, &super::command_line(), &mut display);
    display.bar.finish_and_clear();
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| LabError::Usage(error.to_string()))?;
        files::write(path, text.as_bytes())?;
    }
    if let (Some(folder), Some(sources)) = (&args.sources, sources) {
        for (name, text) in sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // Its operation, and what tells texts of one operation apart.
            let file = format!("{name}-{}.wgsl", &files::fingerprint([text.as_bytes()])[..16]);
            files::write(&folder.join(file), text.as_bytes())?;
        }
    }
    table(&report);
    if let Some(folder) = kept::folder() {
        match Verdict::of(&report).keep(&folder) {
            Ok(path) => output::say(&format!("kept for other commands: {}", path.display())),
            // What was found is right all the same.
            Err(error) => output::complain(&format!("warning: the verdict is not kept: {error}")),
        }
    }
    let mut names: Vec<&str> = report.failed.iter().map(|failure| failure.name()).collect();
    names.dedup();
    if names.is_empty() {
        let cases: usize = report.kernels.iter().map(|row| row.cases).sum();
        output::say(&format!(
            "passed: {cases} cases of {} kernels, {} graphs and ten steps of training, each run twice, in {}",
            kernels(&report).len(),
            report.gradients.len(),
            output::duration(report.seconds)
        ));
        return Ok(());
    }
    Err(LabError::Usage(format!("selftest failed on this adapter: {}", names.join(", "))))
}

/// The passes of one kernel, which all have its name and variant.
type Kernel<'r> = Vec<&'r Row>;

/// The kernels of a report in the order of the test.
fn kernels(report: &Report) -> Vec<Kernel<'_>> {
    let mut found: Vec<Kernel<'_>> = Vec::new();
    for row in &report.kernels {
        match found.iter_mut().find(|rows| (rows[0].kernel, rows[0].variant) == (row.kernel, row.variant)) {
            Some(rows) => rows.push(row),
            None => found.push(vec![row]),
        }
    }
    found
}

fn table(report: &Report) {
    let heads = ["kernel", "variant", "cases", "error", "allowed", "twice", "verdict"];
    let line = |cells: [&str; 7]| {
        let [kernel, variant, cases, error, allowed, twice, verdict] = cells;
        output::say(&format!("{kernel:<24} {variant:<10} {cases:>5} {error:>10} {allowed:>10}  {twice:<10} {verdict}"));
    };
    line(heads);
    let number = |value: f64| if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") };
    let verdict = |bad: bool| if bad { "FAILED" } else { "ok" };
    let bits = |repeats: bool| if repeats { "same bits" } else { "DIFFERS" };
    for rows in kernels(report) {
        let share = |row: &Row| if row.error == 0.0 { 0.0 } else { row.error / row.tolerance };
        let worst = rows.iter().max_by(|one, other| share(one).total_cmp(&share(other)));
        let (error, tolerance) = worst.map_or((0.0, 0.0), |row| (row.error, row.tolerance));
        line([
            rows[0].kernel,
            rows[0].variant.unwrap_or("-"),
            &rows.iter().map(|row| row.cases).sum::<usize>().to_string(),
            &number(error),
            &if tolerance == 0.0 { "exact".to_owned() } else { number(tolerance) },
            bits(rows.iter().all(|row| row.repeats)),
            verdict(rows.iter().any(|row| !row.passed())),
        ]);
    }
    let bad = report.gradients.iter().filter(|row| row.problem.is_some()).count();
    if !report.gradients.is_empty() {
        let worst = report
            .gradients
            .iter()
            .max_by(|one, other| (one.error / one.tolerance).total_cmp(&(other.error / other.tolerance)));
        let (error, tolerance) = worst.map_or((0.0, 0.0), |row| (row.error, row.tolerance));
        let cells = (report.gradients.len().to_string(), number(error), number(tolerance));
        line(["gradients in graphs", "-", &cells.0, &cells.1, &cells.2, "-", verdict(bad > 0)]);
    }
    if let Some(row) = &report.training {
        let (error, tolerance) = (number(row.error), number(row.tolerance));
        let cells = ["ten steps of training", "-", "1", &error, &tolerance, bits(row.repeats)];
        line([cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], verdict(row.problem.is_some())]);
    }
    for failure in &report.failed {
        let variant = failure.variant.as_ref().map_or(String::new(), |variant| format!(" ({variant})"));
        output::say(&format!("FAILED {}{variant}: {}", failure.name(), failure.problem));
    }
}
