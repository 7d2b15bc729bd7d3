//! The charts: both files appear, whole and small, and bad data is an error and not a picture.

use std::fs;
use std::path::PathBuf;

use oodcrate::lab::plots::{PlotError, roc, score_histogram, training_curve};
use oodcrate::ood::metrics::{auroc, roc_curve};

/// An empty folder of this test's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("plots-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    /// Names and contents of the two pictures expected, and of nothing else.
    fn pictures(&self, name: &str) -> (Vec<u8>, String) {
        let count = fs::read_dir(&self.0).expect("the folder exists").count();
        assert_eq!(count, 2, "files besides the two pictures");
        let at = |ending: &str| self.0.join(format!("{name}.{ending}"));
        (
            fs::read(at("png")).expect("the PNG exists"),
            fs::read_to_string(at("svg")).expect("the SVG exists"),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn assert_pictures((png, svg): &(Vec<u8>, String), size: (u32, u32)) {
    let decoded = image::load_from_memory(png).expect("a valid PNG");
    assert_eq!(
        (decoded.width(), decoded.height()),
        (2 * size.0, 2 * size.1)
    );
    let root = format!("<svg width=\"{}\" height=\"{}\" viewBox=", size.0, size.1);
    assert!(svg.starts_with(&root), "{}", &svg[..100]);
    assert!(svg.trim_end().ends_with("</svg>"));
    assert!(svg.len() < 100_000, "{} bytes of SVG", svg.len());
}

/// Scores in no order, without a random number generator.
fn scores(count: u32, offset: f64) -> Vec<f64> {
    (0..count)
        .map(|i| offset + f64::from(i.wrapping_mul(2_654_435_761) >> 8) / 16_777_216.0)
        .collect()
}

#[test]
fn histogram_escapes_names_and_keeps_dots_in_the_path() {
    let folder = Folder::new("histogram");
    let (id, ood) = (scores(3000, 0.3), scores(2000, 0.0));
    let path = folder.0.join("eps_0.03");
    score_histogram(&path, "a < b & c", "score", "ID", &id, "OOD", &ood).expect("drawn");
    let pictures = folder.pictures("eps_0.03");
    assert_pictures(&pictures, (800, 460));
    assert!(pictures.1.contains("a &lt; b &amp; c"));
    assert!(pictures.1.contains("3,000 images"));
    assert!(pictures.1.contains("AUROC 0.75"));
}

#[test]
fn histogram_takes_the_degenerate() {
    let inf = f64::INFINITY;
    let cases: [(&[f64], &[f64]); 6] = [
        (&[1.0], &[1.0]),
        (&[0.0], &[0.0]),
        (&[inf, inf], &[-inf]),
        (&[1e-300, 2e-300], &[0.0]),
        (&[f64::MAX], &[f64::MIN]),
        (&[1e16], &[1e16 + 2.0]),
    ];
    for (i, (id, ood)) in cases.into_iter().enumerate() {
        let folder = Folder::new(&format!("degenerate{i}"));
        let path = folder.0.join("h");
        score_histogram(&path, "t", "x", "ID", id, "OOD", ood).expect("drawn");
        assert_pictures(&folder.pictures("h"), (800, 460));
    }
}

#[test]
fn nan_scores_and_missing_folders_are_errors() {
    let folder = Folder::new("errors");
    let path = folder.0.join("h");
    let drawn = score_histogram(&path, "t", "x", "ID", &[f32::NAN], "OOD", &[0.0]);
    assert!(matches!(drawn, Err(PlotError::Metrics(_))));
    let path = folder.0.join("missing").join("h");
    let drawn = score_histogram(&path, "t", "x", "ID", &[1.0], "OOD", &[0.0]);
    assert!(matches!(drawn, Err(PlotError::Write { .. })));
    let drawn = training_curve(&folder.0.join("t"), "t", &[("a", vec![f64::NAN])], &[]);
    assert!(matches!(drawn, Err(PlotError::NoData { .. })));
    assert_eq!(fs::read_dir(&folder.0).expect("it exists").count(), 0);
}

#[test]
fn long_roc_curves_stay_small() {
    let folder = Folder::new("roc");
    let (id, ood) = (scores(20_000, 0.1), scores(20_000, 0.0));
    let points = roc_curve(&id, &ood).expect("valid scores");
    assert!(points.len() > 10_000);
    let area = auroc(&id, &ood).expect("valid scores");
    let curves = ["a", "b", "c"].map(|name| (name, points.clone(), area));
    roc(&folder.0.join("r"), "three", &curves).expect("drawn");
    assert_pictures(&folder.pictures("r"), (580, 644 + 40));
}

#[test]
fn training_curves_with_and_without_accuracy() {
    let loss = [("train", vec![2.0, 1.5, f64::INFINITY, 1.0])];
    let accuracy = [("train", vec![0.2, 0.4, 0.5, 0.6]), ("test", vec![0.3; 4])];
    for (name, accuracy) in [("both", &accuracy[..]), ("loss", &[])] {
        let folder = Folder::new(name);
        training_curve(&folder.0.join("t"), name, &loss, accuracy).expect("drawn");
        assert_pictures(&folder.pictures("t"), (880, 420));
    }
}
