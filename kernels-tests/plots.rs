//! The charts: well-formed SVG and sharp PNG of the same drawing, hard cases drawn or refused, no half-written files.

#[path = "common/folder.rs"]
mod folder;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use folder::TempFolder;
use shadegrad::lab::plots::{self, PlotError};
use shadegrad::ood::metrics;
use shadegrad::random::{Purpose, Stream};

/// Bell-shaped scores about a middle.
fn bell(item: u32, count: usize, middle: f64, width: f64) -> Vec<f64> {
    let mut stream = Stream::new(4, Purpose::Test, item);
    let mut score = || (0..12).map(|_| f64::from(stream.uniform())).sum::<f64>() - 6.0;
    (0..count).map(|_| middle + width * score()).collect()
}

/// A chart's two files.
fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn svg(path: &Path) -> String {
    fs::read_to_string(with(path, ".svg")).unwrap()
}

fn png(path: &Path) -> image::RgbImage {
    image::open(with(path, ".png")).unwrap().into_rgb8()
}

/// What a folder holds.
fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Checks that tags nest and attributes are quoted, and returns all text.
fn text_of_well_formed(svg: &str) -> String {
    assert!(svg.starts_with("<svg "), "begins with {:?}", svg.get(..20));
    assert!(svg.trim_end().ends_with("</svg>"));
    let mut open = Vec::new();
    let mut text = String::new();
    for piece in svg.split('<').skip(1) {
        let (tag, after) = piece.split_once('>').unwrap_or_else(|| panic!("'<{piece}' is never closed"));
        assert!(!after.contains('>'), "a bare '>' in {after:?}");
        for entity in after.split('&').skip(1) {
            let name = entity.split_once(';').map(|(name, _)| name);
            assert!(matches!(name, Some("lt" | "gt" | "amp" | "quot" | "apos" | "#39" | "#34")), "'&{entity}'");
        }
        assert!(tag.matches('"').count().is_multiple_of(2), "quotes in <{tag}>");
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes another element");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        for bad in ["NaN", "inf", "\"-0\""] {
            assert!(!tag.contains(bad), "{bad} in <{tag}>");
        }
        text.push_str(after.trim());
        text.push('\n');
    }
    assert!(open.is_empty(), "{open:?} left open");
    text
}

/// Checks both files of a chart of this size in points that must contain these texts.
fn check(path: &Path, size: (u32, u32), texts: &[&str]) {
    let svg = svg(path);
    let text = text_of_well_formed(&svg);
    for wanted in texts {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    assert!(svg.contains(&format!("width=\"{}\" height=\"{}\"", size.0, size.1)), "{:?}", svg.get(..120));

    let png = png(path);
    assert_eq!(png.dimensions(), (2 * size.0, 2 * size.1), "two pixels a point");
    let colours: HashSet<[u8; 3]> = png.pixels().map(|pixel| pixel.0).collect();
    assert!(colours.len() > 40, "only {} colours: no smooth edges", colours.len());
    let ink = png.pixels().filter(|pixel| pixel.0 != [255; 3]).count() as f64 / f64::from(png.width() * png.height());
    assert!((0.01..0.6).contains(&ink), "{:.1} % of the pixels are not white", 100.0 * ink);
    // The border stays free, so nothing was drawn past it.
    let (right, bottom) = (png.width() - 1, png.height() - 1);
    for at in 0..png.width() {
        assert!([(at, 0), (at, bottom)].iter().all(|&(x, y)| png.get_pixel(x, y).0 == [255; 3]), "ink at column {at}");
    }
    for at in 0..png.height() {
        assert!([(0, at), (right, at)].iter().all(|&(x, y)| png.get_pixel(x, y).0 == [255; 3]), "ink at row {at}");
    }
}

fn has_colour(image: &image::RgbImage, colour: [u8; 3]) -> bool {
    image.pixels().any(|pixel| pixel.0 == colour)
}

const BLUE: [u8; 3] = [0, 114, 178];
const VERMILION: [u8; 3] = [213, 94, 0];

const HISTOGRAM: (u32, u32) = (800, 460);

fn histogram(path: &Path, id: &[f64], ood: &[f64]) -> Result<(), PlotError> {
    plots::score_histogram(path, "lenet · CIFAR-10 and FakeData", "max logit", "CIFAR-10", id, "FakeData", ood)
}

#[test]
fn a_histogram_shows_both_sets() {
    let folder = TempFolder::new("plots");
    let path = folder.path().join("histogram");
    let (id, ood) = (bell(0, 3000, 4.0, 2.0), bell(1, 1500, 1.0, 0.8));
    histogram(&path, &id, &ood).unwrap();
    assert_eq!(listing(folder.path()), ["histogram.png", "histogram.svg"]);
    let auroc = format!("AUROC {:.4}", metrics::auroc(&id, &ood).unwrap());
    let texts = ["CIFAR-10 (3,000 images)", "FakeData (1,500 images)", "max logit", "share of images per bin", &auroc];
    check(&path, HISTOGRAM, &texts);
    check(&path, HISTOGRAM, &["lenet · CIFAR-10 and FakeData", " %"]);
    let png = png(&path);
    assert!(has_colour(&png, BLUE) && has_colour(&png, VERMILION), "one set is not drawn");
}

#[test]
fn the_order_of_scores_does_not_matter_and_two_drawings_are_equal() {
    let folder = TempFolder::new("plots");
    let (id, ood) = (bell(2, 500, 0.0, 1.0), bell(3, 400, 1.0, 1.0));
    let [first, second, reversed] = ["first", "second", "reversed"].map(|name| folder.path().join(name));
    let backwards = |scores: &[f64]| scores.iter().rev().copied().collect::<Vec<_>>();
    histogram(&first, &id, &ood).unwrap();
    histogram(&second, &id, &ood).unwrap();
    histogram(&reversed, &backwards(&id), &backwards(&ood)).unwrap();
    for suffix in [".svg", ".png"] {
        let bytes = [&first, &second, &reversed].map(|path| fs::read(with(path, suffix)).unwrap());
        assert!(bytes[0] == bytes[1] && bytes[0] == bytes[2], "{suffix} differs from drawing to drawing");
    }
    // Other scores are another picture.
    let other = folder.path().join("other");
    histogram(&other, &bell(9, 500, 0.0, 1.0), &ood).unwrap();
    assert_ne!(svg(&first), svg(&other));
}

#[test]
fn histograms_of_difficult_scores() {
    let folder = TempFolder::new("plots");
    let (inf, wide) = (f64::INFINITY, bell(5, 300, 0.0, 2.0));
    let spike = bell(6, 300, 0.5, 0.001);
    let mut strays = bell(7, 1000, 0.0, 1.0);
    strays.extend([-1e6, 1e9, inf]);
    let cases: [(&str, &[f64], &[f64], &str); 9] = [
        ("one score each", &[1.0], &[2.0], "(1 images)"),
        ("all the same", &[3.0; 50], &[3.0; 40], "AUROC 0.5000"),
        ("two values", &[0.0; 50], &[1.0; 40], "AUROC 0.0000"),
        ("a spike in a wide set", &wide, &spike, "cut off here"),
        ("strays", &strays, &wide, "beyond the axis"),
        ("nothing finite", &[inf, inf], &[-inf], "100.0 % beyond the axis"),
        ("huge", &[f64::MAX, -f64::MAX], &[0.0], "max logit"),
        ("tiny", &[1e-300, 2e-300], &[0.0], "max logit"),
        ("far from zero", &[1e12, 1e12 + 1.0], &[1e12 + 0.5], "max logit"),
    ];
    for (name, id, ood, text) in cases {
        let path = folder.path().join(name.replace(' ', "_"));
        histogram(&path, id, ood).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = text_of_well_formed(&svg(&path));
        assert!(found.contains(text), "{name}: no {text:?} in {found}");
        check(&path, HISTOGRAM, &["FakeData"]);
    }
}

#[test]
fn scores_that_cannot_be_ranked_make_no_picture() {
    let folder = TempFolder::new("plots");
    let path = folder.path().join("histogram");
    let text = |result: Result<(), PlotError>| result.unwrap_err().to_string();
    assert!(text(histogram(&path, &[], &[1.0])).contains("the in-distribution set has no scores"));
    assert!(text(histogram(&path, &[1.0], &[])).contains("the out-of-distribution set has no scores"));
    assert!(text(histogram(&path, &[1.0], &[0.0, f64::NAN])).contains("score at index 1 is NaN"));
    assert!(listing(folder.path()).is_empty(), "{:?}", listing(folder.path()));
}

#[test]
fn names_are_written_as_they_are() {
    let folder = TempFolder::new("plots");
    // A dot in a name is no extension, and signs of XML are letters like others.
    let path = folder.path().join("eps_0.03");
    let title = "a < b & \"c\" > d";
    plots::score_histogram(&path, title, "score <T>", "A&B", &[1.0, 2.0], "C<D", &[0.5]).unwrap();
    assert_eq!(listing(folder.path()), ["eps_0.03.png", "eps_0.03.svg"]);
    let text = text_of_well_formed(&svg(&path)).replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    let text = text.replace("&apos;", "'").replace("&amp;", "&");
    for wanted in [title, "score <T>", "A&B (2 images)", "C<D (1 images)"] {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    // A long title is made smaller and stays inside the picture.
    let long = "a very long title ".repeat(12);
    plots::score_histogram(&path, &long, "score", "id", &[1.0, 2.0], "ood", &[0.5]).unwrap();
    check(&path, HISTOGRAM, &[long.trim()]);
}

#[test]
fn roc_curves_with_their_areas() {
    let folder = TempFolder::new("plots");
    let path = folder.path().join("roc");
    let mut stream = 10;
    let mut curve = |name: &'static str, apart: f64| {
        let (id, ood) = (bell(stream, 2000, apart, 1.0), bell(stream + 1, 2000, 0.0, 1.0));
        stream += 2;
        (name, metrics::roc_curve(&id, &ood).unwrap(), metrics::auroc(&id, &ood).unwrap())
    };
    let curves = [curve("max logit", 2.0), curve("energy", 1.0), curve("worse than chance", -1.0)];
    plots::roc(&path, "lenet · CIFAR-10 against FakeData", &curves).unwrap();
    let areas = curves.each_ref().map(|(name, _, auroc)| format!("{name} (AUROC {auroc:.4})"));
    let axes = ["chance", "false positive rate (OOD kept)", "true positive rate (in-distribution kept)"];
    check(&path, (580, 684), &[&areas[0], &areas[1], &areas[2], axes[0], axes[1], axes[2]]);
    // 4,000 points are thinned out to what can be seen.
    assert!(svg(&path).len() < 200_000, "{} bytes", svg(&path).len());

    let short = folder.path().join("short");
    let step = vec![(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)];
    plots::roc(&short, "perfect, and nearly", &[("a", step.clone(), 1.0), ("b", step, 0.999_99)]).unwrap();
    check(&short, (580, 664), &["a (AUROC 1.0000)", "b (AUROC &gt; 0.9999)"]);
}

const TRAINING: (u32, u32) = (880, 420);

#[test]
fn training_curves() {
    let folder = TempFolder::new("plots");
    let path = folder.path().join("training");
    let losses = [("train loss", vec![2.3, 1.8, 1.5, 1.4]), ("test loss", vec![2.2, 1.9, 1.7, 1.6])];
    let accuracy = [("test accuracy", vec![0.1, 0.3, 0.42, 0.45])];
    plots::training_curve(&path, "lenet on shapes", &losses, &accuracy).unwrap();
    let texts = ["lenet on shapes", "train loss", "test loss", "test accuracy", "epoch", "loss", "accuracy", " %"];
    check(&path, TRAINING, &texts);

    // An autoencoder has no accuracy; the loss panel then is alone.
    let alone = folder.path().join("alone");
    plots::training_curve(&alone, "ae3", &losses, &[]).unwrap();
    check(&alone, TRAINING, &["train loss"]);
    assert!(!svg(&alone).contains("accuracy"));

    // One epoch, a constant, gaps, and a loss that ran away at the end.
    let cases = [
        ("one", vec![2.3]),
        ("constant", vec![0.5; 7]),
        ("zero", vec![0.0; 3]),
        ("gaps", vec![f64::NAN, 2.0, f64::NAN, 1.0, f64::INFINITY]),
        ("many", (0..500).map(|epoch| 1.0 / f64::from(epoch + 1)).collect()),
        ("tiny", vec![3e-7, 2e-7, 1e-7]),
        ("huge", vec![1e300, 1e10]),
    ];
    for (name, values) in cases {
        let path = folder.path().join(name);
        plots::training_curve(&path, name, &[("loss", values)], &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        check(&path, TRAINING, &["epoch"]);
    }
}

#[test]
fn a_training_curve_without_values_is_an_error() {
    let folder = TempFolder::new("plots");
    let path = folder.path().join("training");
    let none: [(&str, Vec<f64>); 0] = [];
    for loss in [vec![], vec![f64::NAN, f64::INFINITY]] {
        let error = plots::training_curve(&path, "lenet", &[("loss", loss)], &none).unwrap_err();
        assert_eq!(error.to_string(), "the chart \"lenet\" has no finite values to draw");
    }
    assert!(matches!(plots::training_curve(&path, "lenet", &none, &none), Err(PlotError::NoData { .. })));
    assert!(listing(folder.path()).is_empty());
}

#[test]
fn a_chart_that_cannot_be_placed_leaves_nothing_behind() {
    let folder = TempFolder::new("plots");
    let draw = |path: &Path| histogram(path, &[1.0, 2.0], &[0.0]).unwrap_err().to_string();

    let missing = draw(&folder.path().join("no such folder").join("histogram"));
    assert!(missing.contains("cannot write the chart") && missing.contains("histogram.svg"), "{missing}");
    assert!(!missing.contains('\n'), "{missing}");

    // A folder stands where the SVG belongs: the file is written beside it and cannot be renamed.
    let path = folder.path().join("taken");
    fs::create_dir(with(&path, ".svg")).unwrap();
    assert!(draw(&path).contains("taken.svg"));
    assert_eq!(listing(folder.path()), ["taken.svg"], "the part beside it must go");

    // The same for the PNG: the SVG is whole by then.
    let path = folder.path().join("half");
    fs::create_dir(with(&path, ".png")).unwrap();
    assert!(draw(&path).contains("half.png"));
    text_of_well_formed(&svg(&path));
    assert_eq!(listing(folder.path()), ["half.png", "half.svg", "taken.svg"]);
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_stays_as_it_was() {
    use std::os::unix::fs::PermissionsExt;

    let folder = TempFolder::new("plots");
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let path = inside.join("histogram");
    histogram(&path, &[1.0, 2.0], &[0.0]).unwrap();
    let before = svg(&path);
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o555)).unwrap();
    // Permissions do not bind an administrator.
    let probe = inside.join("probe");
    let is_bound = fs::write(&probe, b"").is_err();
    let outcome = histogram(&path, &[5.0, 9.0], &[7.0]);
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).unwrap();
    if is_bound {
        assert!(outcome.unwrap_err().to_string().contains("histogram.svg"));
        assert_eq!(svg(&path), before, "the old chart must stay");
    } else {
        outcome.unwrap();
        fs::remove_file(&probe).unwrap();
        assert_ne!(svg(&path), before, "the new chart must be there");
    }
    check(&path, HISTOGRAM, &["CIFAR-10"]);
    assert_eq!(listing(&inside), ["histogram.png", "histogram.svg"]);
}
