//! A benchmark's results for people.

use crate::lab::bench::{Bound, Ceilings, LadderReport, TuneReport};

use super::super::output::say;
use super::{KernelRow, Report};
use crate::ops::tiles::ConvVariant;

fn ceilings(found: &Ceilings) {
    say(&format!(
        "ceilings: {:.1} GFLOP/s (multiply-adds in registers), {:.1} GB/s (copying or reading 64 MiB), {:.1} GB/s \
         (2 MiB)",
        found.gflops, found.gbps, found.gbps_cached
    ));
}

/// Everything that was measured.
pub(super) fn report(report: &Report) {
    ceilings(&report.ceilings);
    if !report.kernels.is_empty() {
        let source = match report.kernel_times_from {
            "timestamps" => "by the device's timestamps",
            _ => "from the call to the end of the wait: this adapter has no timestamps",
        };
        say(&format!("\nkernels ({source}); share: of the nearer ceiling, a arithmetic, m memory"));
        say(&format!(
            "{:<16} {:<19} {:<34} {:<9} {:>9} {:>19} {:>8} {:>7} {:>8}",
            "kernel or layer", "pass", "shape", "variant", "ms", "least - most", "GFLOP/s", "GB/s", "share"
        ));
    }
    for row in &report.kernels {
        say(&kernel(row));
    }
    explain(report.kernels.iter());
    steps(report);
    if let Some(first) = &report.first_step {
        let found = match first.translating_devices[0] {
            0 | 1 => "found".to_owned(),
            devices => format!("found (kernels translated on {devices} devices)"),
        };
        say(&format!(
            "\nfirst training step of {} at batch {}: {:.2} s from opening the device ({:.2} s of it) with the driver's \
             shader cache as it was {found}; {:.2} s once more on a new device",
            first.model, first.batch, first.as_found_seconds, first.open_seconds, first.again_seconds
        ));
        if let Some(start) = first.of_a_process {
            say(&format!(
                "the same from the start of a process of its own: {:.2} s cold (the driver's shader cache empty, if it keeps it \
                 where it is told), {:.2} s warm",
                start.cold_seconds, start.warm_seconds
            ));
        }
    }
    if let Some(host) = &report.host {
        say(&format!(
            "a dispatch costs the host {:.1} us ({:.1} at best), over the {} of a step of {} at batch {}",
            host.microseconds_per_dispatch, host.microseconds_at_best, host.dispatches, host.model, host.batch
        ));
    }
}

/// What rates beyond the ceiling mean.
fn explain<'r>(mut rows: impl Iterator<Item = &'r KernelRow>) {
    if rows.any(|row| row.variant == ConvVariant::Winograd.name()) {
        say("winograd: GFLOP/s of the plain sum, of whose products it needs a quarter at stride 1, 9 / 16 at stride 2");
    }
}

fn kernel(row: &KernelRow) -> String {
    let gflops = if row.gflops > 0.0 { format!("{:.2}", row.gflops) } else { "-".to_owned() };
    let bound = if row.bound == Bound::Arithmetic { "a" } else { "m" };
    let timing = row.timing;
    format!(
        "{:<16} {:<19} {:<34} {:<9} {:>9.3} {:>19} {gflops:>8} {:>7.2} {:>5.1} %{bound}",
        row.layer.as_deref().unwrap_or(&row.kernel),
        row.pass,
        row.shape,
        row.variant,
        timing.ms_median,
        format!("{:.3} - {:.3}", timing.ms_min, timing.ms_max),
        row.gbps,
        100.0 * row.share_of_ceiling,
    )
}

fn steps(report: &Report) {
    if report.steps.is_empty() {
        return;
    }
    say(&format!(
        "\n{:<7} {:<8} {:>5} {:>11} {:>10} {:>21} {:>10} {:>10} {:>18}",
        "step", "model", "batch", "images/s", "ms", "least - most", "dispatches", "peak MiB", "of the bytes alive"
    ));
    for row in &report.steps {
        let timing = row.timing;
        let share = row.share_of_training_step.map(|share| format!("  {share:.2} of a training step"));
        say(&format!(
            "{:<7} {:<8} {:>5} {:>11.1} {:>10.3} {:>21} {:>10} {:>10.1} {:>18.2}{}",
            row.kind,
            row.model,
            row.batch,
            row.images_per_second,
            timing.ms_median,
            format!("{:.3} - {:.3}", timing.ms_min, timing.ms_max),
            row.dispatches,
            row.peak_bytes as f64 / f64::from(1 << 20),
            row.peak_over_live,
            share.unwrap_or_default()
        ));
    }
}

/// A bar for each rung: as long as its share of the ceiling.
pub(super) fn ladder(report: &LadderReport) {
    const WIDTH: f64 = 40.0;
    ceilings(&report.ceilings);
    let mut shown = "";
    for rung in &report.rungs {
        let row = &rung.row;
        if row.pass != shown {
            say(&format!("\n{} {}, {}; the whole width is the ceiling", row.kernel, row.pass, row.shape));
            shown = row.pass;
        }
        let length = (row.share_of_ceiling * WIDTH).round().clamp(1.0, WIDTH) as usize;
        say(&format!(
            "{:<24} |{:<40}| {:>5.1} %  {:>8.2} GFLOP/s  {:>6.2} x  {:>9.3} ms  off by {:.0e}",
            rung.file,
            "#".repeat(length),
            100.0 * row.share_of_ceiling,
            row.gflops,
            rung.speedup,
            row.timing.ms_median,
            rung.difference
        ));
    }
    say("off by: the largest difference from the first rung's result, over the largest value there");
    explain(report.rungs.iter().map(|rung| &rung.row));
    for file in &report.missing {
        let why = match (file.ends_with("_coop"), report.precision) {
            (true, "f32") => "is for --precision f16, on an adapter that has cooperative matrices",
            (true, _) => "failed 'selftest' on this adapter",
            (false, _) => "is not for this adapter: no subgroups of one fixed size, or it failed 'selftest'",
        };
        say(&format!("{file:<24} {why}"));
    }
    say("\n'shadegrad kernels NAME' prints a rung; shaders/README.md says what each one adds");
}

/// Each problem with what was tried on it, the table's own choice first.
pub(super) fn tuned(report: &TuneReport) {
    say(&format!(
        "{:<28} {:<40} {:<44} kept",
        "layer and pass", "problem", "milliseconds, the table's own choice first"
    ));
    for row in &report.rows {
        let tried: Vec<String> =
            row.tried.iter().map(|(name, milliseconds)| format!("{name} {milliseconds:.3}")).collect();
        say(&format!(
            "{:<28} {:<40} {:<44} {}",
            row.layer,
            row.problem,
            tried.join(", "),
            row.kept.as_deref().unwrap_or("-")
        ));
    }
}
