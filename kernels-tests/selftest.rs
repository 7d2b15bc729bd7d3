//! The self-test: it passes here, names a kernel that is broken on purpose, and other commands do without that one.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/languages.rs"]
mod languages;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use folder::TempFolder;
use languages::translated;
use shadegrad::gpu::{Broken, Gpu, GpuOptions, Precision};
use shadegrad::kept;
use shadegrad::ops::sources::find;
use shadegrad::ops::tiles::{self, CONV2D, ConvVariant};
use shadegrad::selftest::{self, Failure, Report, Verdict};

/// The program with a cache folder of its own.
fn shadegrad(cache: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shadegrad"));
    command.env("XDG_CACHE_HOME", cache).env("LOCALAPPDATA", cache).env("HOME", cache);
    command.args(line.split_whitespace()).current_dir(cache).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The lines beside results, less the one on software adapters.
fn complaints(output: &Output) -> Vec<String> {
    let text = stderr(output);
    text.lines().filter(|line| !line.starts_with("warning: this is a software")).map(str::to_owned).collect()
}

/// What the self-test's parts say of a kernel that is broken.
fn tried(broken: Broken, parts: &[&str]) -> Report {
    let options = GpuOptions { broken: Some(broken), ..GpuOptions::default() };
    let gpu = selftest::open(&options).unwrap();
    let adapter = selftest::details(None).unwrap();
    selftest::run_parts(&gpu, &options, adapter, &[], &mut (), &|name| parts.iter().any(|part| name.starts_with(part)))
}

#[test]
fn it_passes_on_this_adapter_and_says_what_it_saw() {
    let temp = TempFolder::new("selftest");
    let file = temp.path().join("report.json");
    let sources = temp.path().join("sources");
    let output = shadegrad(temp.path(), &format!("selftest --json {} --sources {}", file.display(), sources.display()));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{text}{}", stderr(&output));
    for part in ["passed: ", "conv2d_naive", "matmul_tiled", "check_finite", "ten steps of training", "kept for other"]
    {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
    assert_eq!(complaints(&output).len(), selftest::COUNT, "a line for each part, no bar: {}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["failed"], serde_json::json!([]));
    for field in ["name", "driver", "limits", "features"] {
        assert!(!report["adapter"][field].is_null(), "{field}");
    }
    let kernels = report["kernels"].as_array().unwrap();
    for row in kernels {
        assert!(row["cases"].as_u64().unwrap() > 0 && row["repeats"] == true && row["problem"].is_null(), "{row}");
    }
    // Every file that holds an entry point is among them, or a part of an operation that is.
    let rows: Vec<&str> = kernels.iter().map(|row| row["kernel"].as_str().unwrap()).collect();
    for source in shadegrad::ops::sources::SOURCES.iter().filter(|source| !source.entries().is_empty()) {
        // Not every adapter has cooperative matrices, and none is opened for them unless it is asked.
        if source.name == "peak" || source.name.ends_with("_coop") {
            continue;
        }
        // Those that only make ready for another are tried with it.
        let is_tried = rows.contains(&source.name) || ["conv2d_pack", "pack_winners"].contains(&source.name);
        assert!(is_tried, "{} is not tried", source.name);
    }
    // Every text that the driver was given was written whole, as it was given, under its operation's name.
    let texts: Vec<_> = fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(texts.len() > rows.len());
    for path in &texts {
        let text = fs::read_to_string(path).unwrap();
        let is_whole = text.trim_end().ends_with('}') && !text.contains("// unroll");
        assert!(is_whole && path.extension().is_some_and(|end| end == "wgsl"), "{path:?}");
        // And DX12 and Metal could be given it, too, with vectors read as vectors.
        let [wide, stored] = ["wide", "stored"].map(|name| find(name).unwrap().text.trim_end());
        let others = translated(&text.replace(wide, stored)).unwrap_or_else(|problem| panic!("{path:?}: {problem}"));
        assert!(others.len() >= 2 && others.iter().all(|text| text.len() > 100), "{path:?}: {others:?}");
    }
    assert!(translated("@compute @workgroup_size(1) fn f() { let x: u32 = 1.5; }").is_err());
    let named = |name: &str| texts.iter().any(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name));
    assert!(["fill-", "max_pool-", "matmul_tiled-", "conv2d-", "adam-"].iter().all(|name| named(name)), "{texts:?}");
    // The training that follows takes the verdict for what it is.
    assert_eq!(complaints(&shadegrad(temp.path(), "kernels fill")), [""; 0]);
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let kept = Verdict::recall(&temp.path().join("shadegrad"), gpu.adapter(), Precision::F32).unwrap();
    assert!(kept.is_none_or(|verdict| verdict.passed), "a verdict is kept where this system keeps such things");
}

#[test]
fn broken_kernels_are_caught_and_named() {
    let cases = [
        ("fill", "p.bits", "(p.bits + 1u)", "elementwise kernels"),
        ("add", "a[i] + b[i]", "a[i] - b[i]", "elementwise kernels"),
        // A dropped last element, a wrong sum, a missing division, a sign, a factor.
        ("reduce", "r < p.length", "r + 1u < p.length", "reductions"),
        ("max_pool", "(value > best)", "(value < best)", "pooling"),
        ("avg_pool", "f32(KH * KW)", "f32(KH * KW + 1u)", "pooling"),
        ("optimizer", "w[i] = weight - p.rate_m", "w[i] = weight + p.rate_m", "optimisers"),
        (
            "dropout",
            "words[j] >= p.threshold",
            "words[j] > p.threshold + 65536u * 4096u",
            "random numbers and attack steps",
        ),
        ("gather", "word >> 8u, word >> 16u", "word >> 16u, word >> 8u", "batches"),
        // An element that nothing writes.
        ("dropout", "if i < p.count {", "if i + 1u < p.count {", "random numbers and attack steps"),
    ];
    for (kernel, from, to, part) in cases {
        let source = shadegrad::ops::sources::SOURCES.iter().find(|one| one.text.starts_with(&format!("// {kernel}")));
        assert!(source.unwrap().text.contains(from), "{kernel} has no '{from}' to break");
        let report = tried(Broken { kernel, from, to }, &[part]);
        assert!(!report.passed && report.stopped.is_none(), "{kernel}: {from} -> {to} is not seen");
        let wanted = source.unwrap().name;
        let failed: Vec<&str> = report.failed.iter().map(Failure::name).collect();
        assert!(failed.contains(&wanted), "{kernel}: {failed:?}");
        assert!(Verdict::of(&report).irreplaceable().is_some(), "no other kernel does what {kernel} does");
    }
    let gone = tried(Broken { kernel: "mse", from: "fn backward", to: "fn forgotten" }, &["losses"]);
    let failure = gone.failed.iter().find(|failure| failure.name() == "mse").unwrap();
    assert!(failure.problem.contains("backward"), "a kernel that the driver rejects is named too: {failure:?}");
    // One that a variant ends in: the variant is what others can stand in for, and the rest of the test goes on.
    let (kernel, from, to) = ("conv2d_store_pooled", "fn store", "fn forgotten");
    let ending = tried(Broken { kernel, from, to }, &["convolutions, subgroup", "convolutions, naive"]);
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let mut named: Vec<_> = ending.failed.iter().map(|failure| (failure.name(), failure.variant.as_deref())).collect();
    // With a normalisation before it and without.
    named.dedup();
    let can = ConvVariant::Subgroup.runs_on(&gpu);
    assert_eq!(named, if can { vec![("conv2d_subgroup", Some("subgroup"))] } else { Vec::new() });
    assert!(ending.stopped.is_none() && ending.kernels.iter().any(|row| row.kernel == "conv2d_naive"));
}

/// The whole way of a fault: found, kept, heeded by other commands, and passed over when asked to be.
#[test]
fn a_variant_that_fails_is_not_used_again() {
    let temp = TempFolder::new("selftest-broken");
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let chosen = tiles::conv2d(&gpu).unwrap();
    // A wrong pad.
    let (kernel, from, to) = if chosen == ConvVariant::Subgroup {
        ("conv2d_subgroup", "let ix0 = i32(gx0 * S + BESIDE) - pad_x;", "let ix0 = i32(gx0 * S + BESIDE) - pad_x + 1;")
    } else {
        ("conv2d", "let ix0 = i32(gx0 * S) - pad_x;", "let ix0 = i32(gx0 * S) - pad_x + 1;")
    };
    let broken = Broken { kernel, from, to };
    let report = tried(broken, &["convolutions"]);
    let names: Vec<&str> = report.failed.iter().map(Failure::name).collect();
    assert!(!names.is_empty() && names.iter().all(|&name| name == kernel), "that kernel and no other: {names:?}");
    // Graphs and training went through with what is left.
    assert!(report.training.as_ref().is_some_and(|row| row.problem.is_none()) && report.gradients.len() > 10);

    let folder = temp.path().join("shadegrad");
    let path = Verdict::of(&report).keep(&folder).unwrap();
    let verdict = Verdict::recall(&folder, gpu.adapter(), Precision::F32).unwrap().unwrap();
    assert_eq!(verdict, Verdict::of(&report));
    verdict.apply(&gpu);
    assert!(gpu.is_refused(CONV2D, chosen.name()));
    assert_ne!(tiles::conv2d(&gpu).unwrap(), chosen);
    // The rest is about where the program looks, which the test only knows of this system.
    if !cfg!(target_os = "linux") {
        return;
    }
    let train = "profile train --model lenet --batch 2 --steps 1 --json";
    let output = shadegrad(temp.path(), train);
    assert!(output.status.success(), "{}", stderr(&output));
    let warnings: Vec<String> = complaints(&output).into_iter().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(kernel) && warnings[0].contains("not used"), "{warnings:?}");
    let allowed = shadegrad(temp.path(), &format!("{train} --allow-failed-kernels"));
    assert!(allowed.status.success() && stderr(&allowed).contains("in use"), "{}", stderr(&allowed));

    // Nothing can stand in for a kernel without variants, nor when all variants failed.
    let failure = |variant: Option<&str>, operation: &str, kernel: &str| Failure {
        operation: operation.to_owned(),
        variant: variant.map(str::to_owned),
        kernel: Some(kernel.to_owned()),
        problem: "wrong".to_owned(),
    };
    let all = ConvVariant::ALL.map(|variant| failure(Some(variant.name()), CONV2D, "conv2d_naive"));
    for (failed, word) in [(vec![failure(None, "max_pool", "max_pool")], "max_pool"), (all.to_vec(), "conv2d")] {
        Verdict { failed, ..verdict.clone() }.keep(&folder).unwrap();
        let output = shadegrad(temp.path(), train);
        assert_eq!(output.status.code(), Some(1));
        let lines = complaints(&output);
        assert!(lines.last().unwrap().starts_with("error: "), "{lines:?}");
        assert!(lines.last().unwrap().contains(word) && lines.last().unwrap().contains("--allow-failed-kernels"));
        assert!(shadegrad(temp.path(), &format!("{train} --allow-failed-kernels")).status.success());
        // Commands that compute nothing do not care.
        assert!(shadegrad(temp.path(), "info").status.success());
    }

    // A damaged file is one clear line, and no reason not to work.
    for damage in ["", "{", "[1, 2]", "{\"failed\": 7}", "\u{0}\u{1}"] {
        fs::write(&path, damage).unwrap();
        let output = shadegrad(temp.path(), "profile train --model lenet --batch 2 --steps 1 --json");
        let lines: Vec<String> = complaints(&output).into_iter().filter(|line| line.starts_with("warning")).collect();
        assert!(output.status.success() && lines.len() == 1, "{}", stderr(&output));
        assert!(lines[0].contains("damaged") && lines[0].contains("selftest"), "{lines:?}");
    }
}

#[test]
fn verdicts_belong_to_an_adapter_a_driver_and_these_kernels() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let folder = Path::new("cache");
    let here = kept::place(folder, "selftest", gpu.adapter());
    let mut other = gpu.adapter().clone();
    other.driver.push_str(" newer");
    assert_ne!(kept::place(folder, "selftest", &other), here);
    assert_ne!(kept::place(folder, "tuned", gpu.adapter()), here);
    assert_eq!(kept::kernels().len(), 32);
}
