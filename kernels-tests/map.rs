//! `shadegrad map`: any number of processes make the map that one makes, number for number; what is merged, refused and
//! missing; the means and intervals by hand; and the page.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/made_up_map.rs"]
mod made_up_map;
#[path = "common/markup.rs"]
mod markup;
#[path = "common/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use folder::TempFolder;
use made_up_map::{made_up, plan};
use markup::{checked, table, text};
use serde_json::Value;
use shadegrad::data::{self, few_shapes};
use shadegrad::lab::map::{Line, Merged, Plan, conclusions};
use shadegrad::lab::report;
use shadegrad::lock::FolderLock;

const CELLS: [&str; 4] = ["lenet-none-seed0", "lenet-fgsm-8-seed0", "lenet-none-seed1", "lenet-fgsm-8-seed1"];

/// A folder with a few pictures, and maps over them.
struct Bench(TempFolder);

impl Bench {
    fn new(name: &str) -> Self {
        let folder = TempFolder::new(name);
        data::write_cifar10(&few_shapes(256, 60), &folder.path().join("data")).unwrap();
        Self(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn map(&self, out: &str, more: &[&str]) -> Command {
        let mut command = program::command();
        command.current_dir(self.0.path()).args(["map", "--data", "data", "--out", out]);
        command.args("--defence none,fgsm --eps 8/255 --seeds 2 --epochs 1,2 --batch 32 --lr 2e-3".split(' '));
        command.args("--ood blobs,constant --attack-images 20 --save-every 1".split(' ')).args(more);
        command
    }

    fn merge(&self, arguments: &[&str]) -> Output {
        program::command().current_dir(self.0.path()).args(["map", "merge"]).args(arguments).output().unwrap()
    }

    /// Copies a map's folder with some of its cells.
    fn copy(&self, from: &str, to: &str, cells: &[&str]) {
        fs::create_dir_all(self.at(to)).unwrap();
        fs::copy(self.at(from).join("map.json"), self.at(to).join("map.json")).unwrap();
        for cell in cells {
            let place = |out: &str| self.at(out).join("cells").join(cell);
            fs::create_dir_all(place(to)).unwrap();
            fs::copy(place(from).join("cell.json"), place(to).join("cell.json")).unwrap();
        }
    }

    fn cell(&self, out: &str, name: &str) -> Value {
        let path = self.at(out).join("cells").join(name).join("cell.json");
        let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        // What may differ between equal runs.
        for key in ["seconds", "images_per_second"] {
            assert!(value.as_object_mut().unwrap().remove(key).is_some());
        }
        value
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// Its one line must have all these words.
fn refused(output: &Output, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("no error: {said}"));
    for word in words {
        assert!(line.contains(word), "no '{word}' in: {line}");
    }
}

#[test]
fn four_processes_at_once_make_the_map_that_one_makes() {
    let bench = Bench::new("map");
    let said = succeed(&mut bench.map("one", &[]));
    assert_eq!(said.lines().filter(|line| line.starts_with('[')).count(), 4, "{said}");
    assert!(said.contains("report: one/report.html"), "{said}");

    // As a scheduler's array would start them, on one folder.
    let children: Vec<_> = (1..=4)
        .map(|index| {
            let mut command = bench.map("four", &["--cell", &format!("{index}/4")]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    for name in CELLS {
        assert!(bench.cell("four", name) == bench.cell("one", name), "{name} differs");
    }
    let list: Value = serde_json::from_str(&succeed(&mut bench.map("four", &["--list", "--json"]))).unwrap();
    let listed: Vec<(u64, &str, bool)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["number"].as_u64().unwrap(), one["name"].as_str().unwrap(), one["done"] == true))
        .collect();
    assert_eq!(listed, [1, 2, 3, 4].map(|number| (number, CELLS[number as usize - 1], true)));

    // Parts of it, as from two machines.
    bench.copy("four", "odd", &[CELLS[0], CELLS[2]]);
    bench.copy("four", "even", &[CELLS[1], CELLS[3]]);
    let output = bench.merge(&["odd", "even", "--out", "both", "--complete"]);
    assert!(output.status.success() && !stderr(&output).contains("missing"), "{}", stderr(&output));
    for file in ["cells.csv", "summary.csv", "map.json"] {
        assert_eq!(
            fs::read(bench.at("both").join(file)).unwrap(),
            fs::read(bench.at("one").join(file)).unwrap(),
            "{file}"
        );
    }
    // 4 cells, 2 epochs, 2 sets and 3 scores, and a line of names.
    assert_eq!(fs::read_to_string(bench.at("both/cells.csv")).unwrap().lines().count(), 49);
    checked(&fs::read_to_string(bench.at("both/report.html")).unwrap());

    let output = bench.merge(&["odd", "--out", "half"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("2 of 4 cells are missing: lenet-fgsm-8-seed0, lenet-fgsm-8-seed1"), "{said}");
    let page = checked(&fs::read_to_string(bench.at("half/report.html")).unwrap());
    assert!(text(&page).contains("This map is not whole: 2 of 4 runs are missing"));
    refused(&bench.merge(&["odd", "--out", "none", "--complete"]), &["2 of 4 cells are missing", CELLS[1]]);
    assert!(!bench.at("none").exists());

    what_does_not_fit_is_refused(&bench);
}

fn what_does_not_fit_is_refused(bench: &Bench) {
    // Twice the same is no harm; twice different is.
    assert!(bench.merge(&["four", "odd", "--out", "twice"]).status.success());
    let path = bench.at("even/cells").join(CELLS[1]).join("cell.json");
    let good = fs::read_to_string(&path).unwrap();
    let at = good.rfind("\"auroc\": ").unwrap() + 9;
    let end = at + good[at..].find(',').unwrap();
    fs::write(&path, format!("{}0.125{}", &good[..at], &good[end..])).unwrap();
    refused(&bench.merge(&["four", "even"]), &[CELLS[1], "in four", "in even"]);
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    refused(&bench.merge(&["even"]), &["cell.json", "damaged"]);
}

#[test]
fn other_settings_are_refused_by_name() {
    let bench = Bench::new("map-other");
    succeed(&mut bench.map("map", &["--cell", "1/4"]));
    let mut other = program::command();
    other.current_dir(bench.0.path()).args("map --data data --defence none,fgsm --eps 8/255 --out map".split(' '));
    refused(&other.output().unwrap(), &["map.json", "plan.lr is 0.002, not 0.001", "--out"]);
    refused(&other.arg("--list").output().unwrap(), &["map.json", "plan.lr is 0.002, not 0.001", "--out"]);

    // Of folders that are only read, none is to be chosen anew; and no number of seeds takes all memory.
    let changed = |to: &str, from: &str, into: &str| {
        bench.copy("map", to, &[]);
        let path = bench.at(to).join("map.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, into)).unwrap();
    };
    changed("faster", "\"lr\": 0.002", "\"lr\": 0.004");
    let output = bench.merge(&["map", "faster"]);
    refused(&output, &["faster", "map.json", "plan.lr is 0.004, not 0.002"]);
    assert!(!stderr(&output).contains("--out"), "{}", stderr(&output));
    changed("endless", "\"seeds\": 2", "\"seeds\": 1000000000000");
    refused(&bench.merge(&["endless"]), &["endless", "map.json", "1 to 10000, not 1000000000000"]);

    let path = bench.at("map/cells").join(CELLS[0]).join("cell.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"lr\": 0.002", "\"lr\": 0.003")).unwrap();
    refused(&bench.map("map", &["--cell", "1/4"]).output().unwrap(), &["cell.json", "plan.lr is 0.003, not 0.002"]);
    fs::write(&path, text).unwrap();

    // A cell that another process is at is passed over, and said to be busy where it alone was asked for.
    let _held = FolderLock::take(&bench.at("map/cells").join(CELLS[1])).unwrap();
    let output = bench.map("map", &["--cell", "2/4"]).output().unwrap();
    refused(&output, &[CELLS[1], "busy", "another run"]);
    assert!(stdout(&output).contains("passed over"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_cell_goes_on_to_the_same_numbers() {
    let bench = Bench::new("map-left");
    succeed(&mut bench.map("whole", &["--cell", "2/4"]));
    let mut child = bench.map("left", &["--cell", "2/4"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let state = bench.at("left/cells").join(CELLS[1]).join("state.safetensors");
    while !state.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the cell ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("the same command goes on"), "{}", stderr(&output));
    assert!(!state.with_file_name("cell.json").exists(), "it was to be interrupted");
    assert!(succeed(&mut bench.map("left", &["--list"])).contains("2/4  lenet-fgsm-8-seed0  begun"));

    let output = bench.map("left", &["--cell", "2/4"]).output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("going on after step"), "{}", stderr(&output));
    assert!(bench.cell("left", CELLS[1]) == bench.cell("whole", CELLS[1]), "another cell came of it");
    assert!(!state.exists());
}

fn line<'m>(merged: &'m Merged, quantity: &str, defence: &str, eps: Option<f64>, epoch: u32) -> &'m Line {
    let is = |line: &&Line| {
        line.quantity == quantity
            && line.defence == defence
            && line.eps == eps
            && line.epoch == epoch
            && line.ood.as_deref().is_none_or(|ood| ood == "fake")
            && line.score.as_deref().is_none_or(|score| score == "energy")
    };
    merged.summary.iter().find(is).unwrap()
}

/// Student's t is 4.303 for two degrees of freedom and 2.776 for four (two times three seeds of the same spread).
#[test]
fn means_and_intervals_by_hand() {
    // Seeds at 0.1 below the mean, the mean and 0.1 above it.
    let spread = |mean: f64, seed: u64| mean + 0.1 * (seed as f64 - 1.0);
    let merged = made_up(&plan(), |cell, epoch| match (cell.defence.as_str(), cell.eps) {
        ("none", _) => spread(0.4, cell.seed),
        ("fgsm", Some(eps)) if eps < 0.02 => spread(0.5, cell.seed),
        ("fgsm", _) => spread(if epoch == 1 { 0.4 } else { 0.8 }, cell.seed),
        // Without a spread; at 8/255 too low.
        (_, Some(eps)) => {
            if eps < 0.02 {
                0.4
            } else {
                0.1
            }
        }
        _ => f64::NAN,
    });
    let eps = [Some(2.0 / 255.0), Some(8.0 / 255.0)];
    let close = |found: Option<f64>, wanted: f64| assert!((found.unwrap() - wanted).abs() < 1e-9, "{found:?} {wanted}");
    let of = |line: &Line, mean: f64, half: f64| {
        close(Some(line.mean), mean);
        close(line.low95, mean - half);
        close(line.high95, mean + half);
        assert_eq!(line.seeds, 3);
    };
    let (own, both) = (4.303 * 0.1 / 3f64.sqrt(), 2.776 * (0.02f64 / 3.0).sqrt());
    of(line(&merged, "auroc", "none", None, 3), 0.4, own);
    of(line(&merged, "auroc", "fgsm", eps[1], 3), 0.8, own);
    of(line(&merged, "fpr95_id", "none", None, 1), 0.6, own);
    of(line(&merged, "clean_accuracy", "none", None, 1), 0.52, 4.303 * 0.02 / 3f64.sqrt());
    let higher = line(&merged, "auroc_minus_none", "fgsm", eps[1], 3);
    of(higher, 0.4, both);
    assert_eq!(higher.verdict.as_deref(), Some("higher"));
    let undecided = line(&merged, "auroc_minus_none", "fgsm", eps[0], 3);
    of(undecided, 0.1, both);
    assert!(undecided.verdict.as_deref().unwrap().contains("cannot be told apart"));
    // One side without a spread: Welch's degrees of freedom are the other's two.
    let lower = line(&merged, "auroc_minus_none", "pgd", eps[1], 3);
    of(lower, -0.3, own);
    assert_eq!(lower.verdict.as_deref(), Some("lower"));
    // Each seed's mean over epsilons: 0.65 and its spread, against 0.4.
    of(line(&merged, "auroc_minus_none_over_eps", "fgsm", None, 3), 0.25, both);
    of(line(&merged, "auroc_minus_none_over_eps", "fgsm", None, 1), 0.05, both);

    let said = conclusions(&merged).join("\n");
    for part in [
        "max logit on FakeData, epoch 3: AUROC 0.400 without a defence (95 % interval 0.152 to 0.648, 3 seeds)",
        "; mean over ε, fgsm +0.250 (+0.023 to +0.477), higher; pgd \u{2212}0.150 (\u{2212}0.398 to +0.098), not to be told",
        "max logit on x<y>,\"z\", epoch 3",
    ] {
        assert!(said.contains(part), "no '{part}' in {said}");
    }
    assert!(said.contains("fgsm at 8/255 in 2 of 3 (first in epoch 2)"), "{said}");
    // Four comparisons a defence's epsilon: fgsm at 8/255 is higher, pgd at 8/255 lower.
    assert!(
        said.contains("Of all 16 comparisons") && said.contains("4 lie above 0") && said.contains("4 below"),
        "{said}"
    );
}

#[test]
fn the_page_shows_the_numbers() {
    let merged = made_up(&plan(), |cell, epoch| 0.5 + 0.05 * cell.seed as f64 + 0.02 * f64::from(epoch));
    let html = report::map_html(&merged).unwrap();
    if let Some(place) = std::env::var_os("SHADEGRAD_SAMPLE_REPORT") {
        fs::write(place, &html).unwrap();
    }
    let pieces = checked(&html);
    let text = text(&pieces);
    assert!(text.contains("a & b <\"data\">") && text.contains("15 of 15 runs"), "{text}");
    let alarms = table(&pieces, "alarms");
    assert_eq!(alarms.len(), 5);
    assert_eq!(alarms[2][..5], ["lenet", "fgsm", "8/255", "3", "2"]);
    assert_eq!(alarms[2][7], "seed 0: 2; seed 2: 2");
    assert_eq!(alarms[3][7], "–");
    // 0.5 + 0.06 and three seeds 0.05 apart: 4.303 x 0.05 / sqrt 3 to both sides.
    let auroc = table(&pieces, "auroc-0");
    assert_eq!(
        auroc[2],
        ["lenet", "none", "–", "3", "3", "52.0 [47.0, 57.0]", "0.610 [0.486, 0.734]", "0.610 [0.486, 0.734]"]
    );
    assert_eq!(auroc.len(), 11);
    let differences = table(&pieces, "differences-1");
    assert_eq!(differences[1][3], "+0.000 [\u{2212}0.113, +0.113]");
    assert_eq!(table(&pieces, "robust")[1][4], "52.0 [47.0, 57.0]");
    // A heat map a defence and set, a scatter an attack's epsilon, a curve a defence.
    assert_eq!(pieces.iter().filter(|piece| piece.opens("svg")).count(), 6 + 2 + 2);

    // One seed: means, and no interval anywhere.
    let one = Plan { seeds: 1, ..plan() };
    let single = made_up(&one, |_, _| 0.9);
    let pieces = checked(&report::map_html(&single).unwrap());
    assert_eq!(table(&pieces, "auroc-0")[1][6], "0.900");
    assert!(markup::text(&pieces).contains("one seed only"));

    // Next to nothing: a cell of a defence, no 'none' to compare with, and one that diverged.
    let mut little = made_up(&plan(), |_, _| 0.9);
    little.cells.retain(|result| result.cell.defence == "pgd");
    little.cells[0].diverged = Some(7);
    little.cells[0].measured.clear();
    let little = Merged::new(little.map, little.cells);
    assert_eq!(little.missing.len(), 9);
    let text = markup::text(&checked(&report::map_html(&little).unwrap()));
    assert!(text.contains("9 of 15 runs are missing") && text.contains("1 of 6 runs diverged"), "{text}");
    let said = conclusions(&little).join("\n");
    assert!(said.contains("counts: lenet-pgd-2-seed0 (after step 7)."), "{said}");
    let counts = |eps: f64| {
        let line = line(&little, "auroc", "pgd", Some(eps / 255.0), 3);
        (line.seeds, line.diverged)
    };
    assert_eq!((counts(2.0), counts(8.0)), ((2, 1), (3, 0)));
}

/// What is written can be read again, names with commas and quotes among it.
#[test]
fn tables_and_results_are_written_whole() {
    let folder = TempFolder::new("map-tables");
    let merged = made_up(&plan(), |cell, _| 0.5 + 0.1 * cell.seed as f64);
    let out: &Path = folder.path();
    shadegrad::lab::map::write(&merged, out).unwrap();
    let result: Merged = serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
    assert_eq!(result.summary, merged.summary);
    assert!(report::map_html(&result).unwrap() == fs::read_to_string(out.join("report.html")).unwrap());
    let cells = fs::read_to_string(out.join("cells.csv")).unwrap();
    let columns = cells.lines().next().unwrap().split(',').count();
    assert_eq!(cells.lines().count(), 1 + 15 * 2 * 4);
    for line in cells.lines().filter(|line| line.contains("fake")) {
        assert_eq!(line.split(',').count(), columns, "{line}");
    }
    assert!(cells.contains(",\"x<y>,\"\"z\"\"\",energy,"), "{cells:.2000}");
    let summary = fs::read_to_string(out.join("summary.csv")).unwrap();
    assert_eq!(summary.lines().count(), 1 + merged.summary.len());
    let first = summary.lines().nth(1).unwrap();
    assert!(first.starts_with("lenet,none,,1,clean_accuracy,,,,3,0.52,") && first.ends_with(",,0"), "{first}");
}
