//! Choices of kernels: followed, written into results, taken again from them to the same bits, and refused where they make
//! no sense; and the tuner, whose choices other commands follow.

mod common;
#[path = "common/folder.rs"]
mod folder;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{assert_close, operand};
use folder::TempFolder;
use serde_json::{Value, json};
use shadegrad::gpu::{Choice, Gpu, GpuOptions};
use shadegrad::ops::choices::{self, Table, convolution, follow, product, record};
use shadegrad::ops::conv2d;
use shadegrad::ops::matmul::{Variant, matmul, plain};
use shadegrad::ops::tiles::{self, ConvVariant};
use shadegrad::selftest::reference::conv2d::Case;

/// A device of this test's own, since choices stay with it.
fn fresh() -> Gpu {
    Gpu::open(&GpuOptions { poison: true, ..GpuOptions::default() }).unwrap()
}

fn table(entries: &[(&str, &str)]) -> Table {
    entries.iter().map(|&(entry, value)| (entry.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_table_is_followed_and_written_down_again() {
    let gpu = fresh();
    let wanted = table(&[
        ("conv2d", "naive"),
        ("conv2d backward-weights 3>6 k5 s1 w28", "direct"),
        ("conv2d forward 3>6 k5 s1 w28", "direct 3x5"),
        ("matmul", "registers"),
        ("matmul nn 8x5", "naive"),
        ("matmul nt 120x400", "vec4"),
    ]);
    follow(&gpu, &wanted).unwrap();
    let mut recorded = wanted.clone();
    // What nothing is said of follows the whole operation.
    recorded.insert("matmul nt".to_owned(), "registers".to_owned());
    assert_eq!(record(&gpu).unwrap(), recorded);
    assert_eq!(tiles::conv2d(&gpu).unwrap(), ConvVariant::Naive);
    let forward = convolution("forward", [3, 6], 5, 1, 28);
    assert_eq!(tiles::conv2d_at(&gpu, forward).unwrap(), (ConvVariant::Direct, Some([3, 5])));
    assert_eq!(tiles::conv2d_at(&gpu, convolution("forward", [3, 6], 5, 1, 27)).unwrap(), (ConvVariant::Naive, None));
    let flips = |flip: usize| [flip & 2 > 0, flip & 1 > 0];
    assert_eq!(tiles::matmul_at(&gpu, [77, 120, 400], flips(1)).unwrap(), Variant::Blocked);
    assert_eq!(tiles::matmul_at(&gpu, [77, 8, 5], flips(0)).unwrap(), Variant::Naive);
    assert_eq!(tiles::matmul_at(&gpu, [77, 8, 6], flips(0)).unwrap(), Variant::Registers);
    // A whole operation's variant steps aside where the shape does not let it.
    follow(&gpu, &table(&[("matmul", "vec4")])).unwrap();
    assert_eq!(tiles::matmul_at(&gpu, [3, 5, 7], flips(0)).unwrap(), Variant::Naive);
    assert_eq!(tiles::matmul_at(&gpu, [3, 8, 7], flips(0)).unwrap(), Variant::Blocked);
    // So do tiles in workgroup memory where there would be few of them, or where they would be empty for the most part.
    follow(&gpu, &table(&[("conv2d", "gemm"), ("matmul", "shared")])).unwrap();
    assert_eq!(tiles::matmul_at(&gpu, [448, 512, 7], flips(3)).unwrap(), Variant::Naive);
    assert_eq!(tiles::matmul_at(&gpu, [449, 511, 7], flips(3)).unwrap(), Variant::Shared);
    let at = |channels| tiles::conv2d_at(&gpu, convolution("backward-data", channels, 3, 1, 32)).unwrap().0;
    let is_gemm = |channels| at(channels) == ConvVariant::Gemm;
    assert_eq!([[31, 64], [64, 31], [32, 32]].map(is_gemm), [false, false, true]);
    assert_eq!(record(&gpu).unwrap()["conv2d"], "gemm");
    // Products with the second operand transposed have an entry of their own.
    follow(&gpu, &table(&[("matmul", "tiled"), ("matmul nt", "vec4")])).unwrap();
    assert_eq!(tiles::matmul_at(&gpu, [3, 8, 8], flips(0)).unwrap(), Variant::Tiled);
    assert_eq!(tiles::matmul_at(&gpu, [3, 5, 8], flips(1)).unwrap(), Variant::Blocked);
    assert_eq!(tiles::matmul_at(&gpu, [3, 5, 8], flips(3)).unwrap(), Variant::Blocked);
    assert_eq!(record(&gpu).unwrap()["matmul nt"], "vec4");
    // What a rehearsal plans with is what the run chooses.
    assert_eq!(record(&gpu.rehearsal()).unwrap(), record(&gpu).unwrap());
    assert_eq!(choices::name(product(9, 4, 7, true, false)), "matmul tn 4x9", "the batch is left out");
}

/// The table's own choice of Winograd's products.
#[test]
fn winograd_is_for_many_channels_and_whole_tiles() {
    let gpu = fresh();
    let is_winograd = |pass, channels, window: [usize; 2], width| {
        let (variant, _) = tiles::conv2d_at(&gpu, convolution(pass, channels, window[0], window[1], width)).unwrap();
        variant == ConvVariant::Winograd
    };
    let able = gpu.adapter().is_software() && gpu.subgroup_size().is_some();
    for (pass, channels, window, width, wanted) in [
        ("forward", [32, 32], [3, 1], 32, true),
        ("forward", [31, 64], [3, 1], 32, false),
        ("forward", [64, 31], [3, 1], 32, false),
        ("forward", [32, 32], [3, 1], 7, true),
        ("forward", [32, 32], [3, 1], 6, false),
        ("forward", [32, 32], [3, 2], 4, true),
        ("forward", [32, 32], [5, 1], 32, false),
        ("forward", [32, 32], [3, 3], 32, false),
        ("backward-data", [32, 32], [3, 1], 4, true),
        ("backward-data", [32, 32], [3, 2], 4, false),
        ("backward-data", [32, 32], [3, 2], 8, true),
        ("backward-weights", [32, 32], [3, 1], 8, true),
        ("backward-weights", [32, 32], [3, 2], 8, false),
        ("backward-weights", [128, 128], [3, 2], 8, false),
        ("backward-weights", [128, 256], [3, 2], 8, true),
        ("backward-weights", [160, 160], [3, 2], 8, true),
        ("backward-weights", [159, 160], [3, 2], 8, false),
        ("backward-weights", [32, 2048], [3, 2], 8, false),
    ] {
        assert_eq!(
            is_winograd(pass, channels, window, width),
            wanted && able,
            "{pass} {channels:?} {window:?} {width}"
        );
    }
    // It stands in the place of `subgroup`, and where that is refused nothing is said of it.
    gpu.refuse_variant(tiles::CONV2D, "subgroup");
    assert!(!is_winograd("forward", [32, 32], [3, 1], 32));
    // By choice for all: where it has no kernels, the table's own.
    follow(&gpu, &table(&[("conv2d", "winograd")])).unwrap();
    assert!(is_winograd("backward-weights", [3, 5], [3, 2], 7));
    assert!(!is_winograd("forward", [64, 64], [5, 1], 32));
}

#[test]
fn entries_that_make_no_sense_are_refused_and_change_nothing() {
    let gpu = fresh();
    let before = record(&gpu).unwrap();
    for (entry, value, word) in [
        ("conv3d", "direct", "no such operation"),
        ("", "direct", "no such operation"),
        ("conv2d sideways 3>6 k5 s1 w28", "direct", "no such operation"),
        ("conv2d forward 3>6 k5 s1", "direct", "no such operation"),
        ("conv2d forward 3>6 k5 s1 w28 more", "direct", "no such operation"),
        ("conv2d forward 3>-6 k5 s1 w28", "direct", "no such operation"),
        ("matmul nn 3", "naive", "no such operation"),
        ("matmul nn", "naive", "no such operation"),
        ("matmul nt 0x0", "naive", "no such operation"),
        ("conv2d", "fast", "no variant 'fast'"),
        ("matmul", "direct", "no variant 'direct'"),
        ("conv2d", "direct 4x4", "no tile"),
        ("conv2d forward 3>6 k5 s1 w28", "direct 0x4", "no tile"),
        ("conv2d forward 3>6 k5 s1 w28", "direct 9999999x2", "no tile"),
        ("conv2d forward 3>6 k5 s1 w28", "direct 4", "no tile"),
        ("conv2d forward 3>6 k5 s1 w28", "naive 4x4", "no tile to choose"),
        ("conv2d forward 3>6 k3 s1 w28", "winograd 4x4", "no tile to choose"),
        ("conv2d forward 3>6 k5 s1 w28", "winograd", "no kernel for k5 s1"),
        ("conv2d forward 3>6 k3 s3 w28", "winograd", "no kernel for k3 s3"),
        ("matmul nn 3x4", "naive 4x4", "no tile"),
    ] {
        let error = follow(&gpu, &table(&[("matmul", "naive"), (entry, value)])).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(entry), "{error}");
        assert_eq!(record(&gpu).unwrap(), before, "{entry}");
    }
    gpu.refuse_variant(tiles::CONV2D, "direct");
    let error = follow(&gpu, &table(&[("conv2d", "direct")])).unwrap_err().to_string();
    assert!(error.contains("computes wrong numbers"), "{error}");
}

/// Whatever a table chooses, results are right: tiles that divide nothing and tiles larger than the problem, too.
#[test]
fn every_choice_computes_the_same_sums() {
    let gpu = fresh();
    let case = Case::new([2, 3, 5], [7, 9], 3, 2, 1);
    let ((x, x_values), (w, w_values)) = (operand(&gpu, 0, case.wide()), operand(&gpu, 1, case.weight()));
    let (dy, dy_values) = operand(&gpu, 3, case.narrow());
    let (dx, dw) = (gpu.empty(case.wide()).unwrap(), gpu.empty(case.weight()).unwrap());
    for variant in ConvVariant::ALL.into_iter().filter(|variant| variant.runs_on(&gpu)) {
        for tile in [None, Some([1, 1]), Some([2, 3]), Some([4, 2]), Some([8, 16])] {
            let choice = Choice { variant: variant.name(), tile };
            let problems = [
                convolution("forward", [3, 5], 3, 2, 5),
                convolution("backward-data", [5, 3], 3, 2, 9),
                convolution("backward-weights", [3, 5], 3, 2, 5),
            ];
            gpu.set_choices(problems.map(|problem| (problem, choice)));
            let what = format!("{choice:?}");
            let y = conv2d::forward(&gpu, &x, &w, None, case.window, false).unwrap();
            assert_close(&what, &gpu.read(&y).unwrap(), &case.sum_narrow(&x_values, &w_values), 27);
            conv2d::backward_data(&gpu, &dy, &w, case.window, &dx).unwrap();
            assert_close(&what, &gpu.read(&dx).unwrap(), &case.sum_wide(&dy_values, &w_values), 45);
            conv2d::backward_weights(&gpu, &x, &dy, case.window, &dw).unwrap();
            assert_close(&what, &gpu.read(&dw).unwrap(), &case.sum_weight(&x_values, &dy_values), 40);
        }
    }
    // Several of gemm's tiles each way, with a rest; the blocks beyond 8 x 8 are that.
    let all = [[4, 8], [8, 4], [8, 8], [16, 16]];
    for (case, tiles) in
        [(Case::new([3, 5, 131], [13, 11], 3, 1, 1), &all[..]), (Case::new([5, 34, 37], [10, 9], 3, 2, 1), &all[1..2])]
    {
        let [batch, wide, ..] = case.wide();
        let [_, narrow, height, width] = case.narrow();
        let ((x, x_values), (w, w_values)) = (operand(&gpu, 0, case.wide()), operand(&gpu, 1, case.weight()));
        let (dy, dy_values) = operand(&gpu, 3, case.narrow());
        let (dx, dw) = (gpu.empty(case.wide()).unwrap(), gpu.empty(case.weight()).unwrap());
        for &tile in tiles {
            let choice = Choice { variant: "gemm", tile: Some(tile) };
            let stride = case.window.stride;
            let problems = [
                convolution("forward", [wide, narrow], 3, stride, width),
                convolution("backward-data", [narrow, wide], 3, stride, case.size[1]),
                convolution("backward-weights", [wide, narrow], 3, stride, width),
            ];
            gpu.set_choices(problems.map(|problem| (problem, choice)));
            let what = format!("{case:?} {tile:?}");
            let y = conv2d::forward(&gpu, &x, &w, None, case.window, false).unwrap();
            assert_close(&what, &gpu.read(&y).unwrap(), &case.sum_narrow(&x_values, &w_values), 9 * wide);
            conv2d::backward_data(&gpu, &dy, &w, case.window, &dx).unwrap();
            assert_close(&what, &gpu.read(&dx).unwrap(), &case.sum_wide(&dy_values, &w_values), 9 * narrow);
            conv2d::backward_weights(&gpu, &x, &dy, case.window, &dw).unwrap();
            let wanted = case.sum_weight(&x_values, &dy_values);
            assert_close(&what, &gpu.read(&dw).unwrap(), &wanted, batch * height * width);
        }
    }
    // The rungs sum in one order, all but the one that shares k out: the same bits.
    let ((a, _), (b, _)) = (operand(&gpu, 5, [19, 77]), operand(&gpu, 6, [77, 36]));
    let mut seen = Vec::new();
    for variant in Variant::ALL.into_iter().filter(|&one| one.runs_on(&gpu) && one != Variant::SplitK) {
        let choice = Choice { variant: variant.name(), tile: None };
        gpu.set_choices([(product(19, 36, 77, false, false), choice)]);
        let before = gpu.dispatch_counts();
        seen.push(gpu.read(&matmul(&gpu, plain(&a), plain(&b)).unwrap()).unwrap());
        let launched = variant.file();
        assert_ne!(gpu.dispatch_counts().get(launched), before.get(launched), "{launched} was chosen");
    }
    assert!(seen.len() >= 4 && seen.iter().all(|one| one == &seen[0]));
}

/// The program with a cache folder of its own.
fn shadegrad(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadegrad"));
    command.env("XDG_CACHE_HOME", folder.join("cache")).env("LOCALAPPDATA", folder.join("cache"));
    command.args(line.split_whitespace()).current_dir(folder).output().unwrap()
}

fn succeed(folder: &Path, line: &str) -> String {
    let output = shadegrad(folder, line);
    assert!(output.status.success(), "'{line}': {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_is_repeated_from_its_result() {
    let temp = TempFolder::new("choices");
    let folder = temp.path();
    let train = "train --model lenet --data shapes --epochs 1 --steps 3 --batch 16 --seed 5";
    fs::write(folder.join("slow.json"), r#"{"conv2d": "direct", "matmul": "registers"}"#).unwrap();
    succeed(folder, &format!("{train} --out first --kernels slow.json"));
    let result = folder.join("first/result.json");
    let choices = json!({"conv2d": "direct", "matmul": "registers", "matmul nt": "registers"});
    assert_eq!(read(&result)["kernel_choices"], choices);
    succeed(folder, &format!("{train} --out second --kernels first/result.json"));
    assert_eq!(read(&folder.join("second/result.json"))["kernel_choices"], read(&result)["kernel_choices"]);
    let weights = |run: &str| fs::read(folder.join(run).join("last.safetensors")).unwrap();
    assert!(weights("first") == weights("second"), "the same choices give the same bits");
    // Without a table, twice: the same command gives the same bits, and says what it chose.
    for run in ["third", "fourth"] {
        succeed(folder, &format!("{train} --out {run}"));
    }
    assert!(weights("third") == weights("fourth"));
    let gpu = fresh();
    assert_eq!(read(&folder.join("third/result.json"))["kernel_choices"], json!(record(&gpu).unwrap()));

    for (text, words) in [
        ("{\"conv2d\": \"fast\"}", ["conv2d", "no variant 'fast'"]),
        ("{\"pool\": \"direct\"}", ["pool", "no such operation"]),
        ("{\"kernel_choices\": 3}", ["table.json", "no choice of kernels"]),
        ("[1]", ["table.json", "no choice of kernels"]),
        ("{", ["table.json", "not JSON"]),
    ] {
        fs::write(folder.join("table.json"), text).unwrap();
        let output = shadegrad(folder, &format!("{train} --out refused --kernels table.json"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with("error: ") && words.iter().all(|word| last.contains(word)), "{text}: {last}");
        // The folder was taken for the run by then, and nothing lies in it but that.
        let left = fs::read_dir(folder.join("refused")).map_or(0, |files| {
            files.filter(|file| !file.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.')).count()
        });
        assert!(left == 0 && !stderr.contains("panicked"));
    }
    let none = shadegrad(folder, "profile train --kernels nowhere.json");
    assert!(String::from_utf8(none.stderr).unwrap().contains("does not exist"));
}

#[test]
fn what_the_tuner_keeps_is_followed_and_written_down() {
    let temp = TempFolder::new("tuned");
    let folder = temp.path();
    let found = succeed(folder, "bench --tune --model lenet --batch 2 --rounds 1 --json");
    let found: Value = serde_json::from_str(&found).unwrap();
    // Two convolutions of three passes, three linear layers of three; what other layers share is tried once.
    let rows = found["rows"].as_array().unwrap();
    assert!(rows.len() > 10 && rows.iter().all(|row| row["tried"].as_array().unwrap().len() > 1));
    let kept = rows.iter().filter(|row| !row["kept"].is_null()).count();
    assert_eq!(found["kernel_choices"].as_object().unwrap().len(), kept);
    // Where each system keeps caches, only Linux lets a test decide.
    if !cfg!(target_os = "linux") {
        return;
    }
    let cache = fs::read_dir(folder.join("cache/shadegrad")).unwrap().map(|file| file.unwrap().path());
    let is_tuned = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("tuned-");
    let place = cache.into_iter().find(is_tuned).unwrap();
    // As if the tuner had found this.
    let mut tuned = read(&place);
    tuned["kernel_choices"] = json!({"conv2d forward 3>6 k5 s1 w28": "direct 3x4", "matmul": "registers"});
    fs::write(&place, tuned.to_string()).unwrap();
    let train = "train --model lenet --data shapes --epochs 1 --steps 2 --batch 8 --out";
    let said = succeed(folder, &format!("{train} run"));
    assert!(said.contains("kernels: tuned on this adapter (2 choices"), "{said}");
    let choices = &read(&folder.join("run/result.json"))["kernel_choices"];
    assert_eq!(choices["conv2d forward 3>6 k5 s1 w28"], "direct 3x4");
    assert_eq!(choices["matmul"], "registers");
    // A table on the command line goes before it.
    fs::write(folder.join("plain.json"), r#"{"matmul": "vec4"}"#).unwrap();
    let said = succeed(folder, &format!("{train} plain --kernels plain.json"));
    assert!(!said.contains("tuned"), "{said}");
    for damage in ["", "{", "{\"kernel_choices\": {\"conv2d\": \"fast\"}}"] {
        fs::write(&place, damage).unwrap();
        let output = shadegrad(folder, &format!("{train} damaged --fresh"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        let warnings: Vec<&str> = stderr.lines().filter(|line| line.contains("bench --tune")).collect();
        assert!(output.status.success() && warnings.len() == 1 && warnings[0].starts_with("warning: "), "{stderr}");
    }
}
