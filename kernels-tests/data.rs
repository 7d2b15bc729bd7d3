//! Data readers and noise sets: bad files give one clear line each, and noise has exactly its distribution.

#[path = "common/folder.rs"]
mod folder;

use std::fs;
use std::path::Path;

use folder::TempFolder;
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use shadegrad::data::{self, DataSet, Images, SIZE};

const RECORD: usize = 1 + SIZE;

fn open(folder: &Path) -> Result<DataSet, String> {
    data::open(folder.to_str().unwrap()).map_err(|error| error.to_string())
}

/// Checks that an error is one line which names a file and says these words.
fn assert_says<T>(result: Result<T, String>, file: &Path, words: &[&str]) {
    let text = result.err().expect("an error");
    assert!(!text.contains('\n'), "more than a line: {text}");
    assert!(text.contains(&file.display().to_string()), "{} is not named: {text}", file.display());
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
    assert!(!text.contains("os error") && !text.contains("Error {"), "not for people: {text}");
}

const CIFAR10: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn records(labels: &[u8]) -> Vec<u8> {
    labels.iter().flat_map(|&label| std::iter::once(label).chain((0..SIZE).map(move |at| (at as u8) ^ label))).collect()
}

/// A small set of files in CIFAR-10's layout.
fn small_cifar10(folder: &Path) {
    for number in 1..=5 {
        fs::write(folder.join(format!("data_batch_{number}.bin")), records(&[number, 0, 9])).unwrap();
    }
    fs::write(folder.join("test_batch.bin"), records(&[3, 8])).unwrap();
    fs::write(folder.join("batches.meta.txt"), CIFAR10.join("\n") + "\n\n").unwrap();
}

#[test]
fn cifar10_is_read_record_by_record() {
    let folder = TempFolder::new("data");
    small_cifar10(folder.path());
    let data = open(folder.path()).unwrap();
    assert_eq!(data.name, "cifar10");
    assert_eq!(data.classes, CIFAR10);
    assert_eq!(data.train.labels, [1, 0, 9, 2, 0, 9, 3, 0, 9, 4, 0, 9, 5, 0, 9]);
    assert_eq!(data.test.labels, [3, 8]);
    assert_eq!(data.train.bytes.len(), 15 * SIZE);
    assert_eq!(data.test.bytes[SIZE..SIZE + 3], [8, 9, 10], "pixels begin after the label");

    // Windows line ends in the list of names are white space like others.
    fs::write(folder.path().join("batches.meta.txt"), CIFAR10.join("\r\n")).unwrap();
    assert_eq!(open(folder.path()).unwrap().classes, CIFAR10);
}

#[test]
fn a_set_that_is_written_reads_back_equal() {
    let folder = TempFolder::new("data");
    let data = DataSet {
        name: "noise".to_owned(),
        classes: (0..10).map(|class| format!("class {class}")).collect(),
        train: data::fake_data(3, 0, 23),
        test: data::fake_data(3, 23, 4),
    };
    let inside = folder.path().join("made").join("on the way");
    data::write_cifar10(&data, &inside).unwrap();
    let back = open(&inside).unwrap();
    assert!(back.train == data.train && back.test == data.test);
    assert_eq!(back.classes, data.classes);
    let bytes: u64 = (1..=5).map(|n| fs::metadata(inside.join(format!("data_batch_{n}.bin"))).unwrap().len()).sum();
    assert_eq!(bytes, 23 * RECORD as u64);
}

#[test]
fn bad_cifar10_files_each_give_one_line() {
    let folder = TempFolder::new("data");
    let batch = |number: u8| folder.path().join(format!("data_batch_{number}.bin"));
    let (test, meta) = (folder.path().join("test_batch.bin"), folder.path().join("batches.meta.txt"));
    type Damage<'a> = (&'a str, &'a Path, &'a dyn Fn(&Path), &'a [&'a str]);
    let (third, fifth) = (batch(3), batch(5));
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let write = |bytes: Vec<u8>| move |path: &Path| fs::write(path, &bytes).unwrap();
    let cases: [Damage; 11] = [
        ("missing", &third, &remove, &["cannot read", "it does not exist"]),
        ("no test batch", &test, &remove, &["cannot read", "it does not exist"]),
        ("no names", &meta, &remove, &["cannot read", "it does not exist"]),
        (
            "cut off",
            &fifth,
            &write(records(&[1, 2])[..RECORD + 100].to_vec()),
            &["cut off", "1 whole records of 3073 bytes", "100 bytes more"],
        ),
        ("less than a record", &third, &write(vec![0; 10]), &["cut off", "0 whole records", "10 bytes more"]),
        ("empty", &test, &write(Vec::new()), &["cut off", "0 whole records"]),
        ("label 12", &third, &write(records(&[0, 12, 1])), &["record 1 has label 12", "labels are 0 to 9"]),
        ("label 255 in the test set", &test, &write(records(&[255])), &["record 0 has label 255"]),
        ("nine names", &meta, &write(CIFAR10[1..].join("\n").into_bytes()), &["it names 9 classes, not 10"]),
        ("an empty list", &meta, &write(b"\n \n".to_vec()), &["it names 0 classes"]),
        (
            "a folder in its place",
            &third,
            &|path: &Path| {
                remove(path);
                fs::create_dir(path).unwrap();
            },
            &["cannot read", "it is a folder"],
        ),
    ];
    for (name, file, damage, words) in cases {
        let _ = fs::remove_dir(&third);
        small_cifar10(folder.path());
        assert!(open(folder.path()).is_ok(), "before '{name}'");
        damage(file);
        assert_says(open(folder.path()), file, words);
    }
}

#[test]
fn what_is_no_data_set_is_told_apart() {
    let folder = TempFolder::new("data");
    let missing = folder.path().join("nowhere");
    assert_says(open(&missing), &missing, &["it does not exist", "CIFAR-10's binary files", "'shapes'"]);
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    assert_says(open(&file), &file, &["it is not a folder"]);
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let words = ["is not a data set", "data_batch_1.bin", "'train' and 'test'", "--data shapes"];
    assert_says(open(&empty), &empty, &words);
}

/// A picture whose pixels all differ.
fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x + 3 * y) as u8]))
}

/// `train` and `test` with the classes `cat` and `dog`, one picture each.
fn small_folders(folder: &Path) {
    for part in ["train", "test"] {
        for (class, colour) in [("dog", [0, 0, 200]), ("cat", [200, 0, 0])] {
            let inside = folder.join(part).join(class);
            fs::create_dir_all(&inside).unwrap();
            RgbImage::from_pixel(32, 32, Rgb(colour)).save(inside.join("a.png")).unwrap();
        }
    }
}

/// One picture's three planes.
fn planes(images: &Images, index: usize) -> Vec<&[u8]> {
    images.bytes[index * SIZE..(index + 1) * SIZE].chunks_exact(1024).collect()
}

#[test]
fn folders_of_pictures_of_every_kind() {
    let folder = TempFolder::new("data");
    small_folders(folder.path());
    let cat = folder.path().join("train").join("cat");
    gradient(32, 32).save(cat.join("b.png")).unwrap();
    RgbImage::from_pixel(17, 41, Rgb([10, 20, 30])).save(cat.join("c.png")).unwrap();
    GrayImage::from_pixel(33, 32, Luma([77])).save(cat.join("d.png")).unwrap();
    RgbaImage::from_pixel(40, 40, Rgba([1, 2, 3, 0])).save(cat.join("e.png")).unwrap();
    image::ImageBuffer::from_pixel(5, 5, Rgb([0x1234u16, 0x8000, 0xFFFF])).save(cat.join("f.png")).unwrap();
    RgbImage::from_pixel(1, 1, Rgb([9, 8, 7])).save(cat.join("g.PNG")).unwrap();
    RgbImage::from_pixel(32, 32, Rgb([4, 5, 6])).save_with_format(cat.join("h.bmp"), ImageFormat::Bmp).unwrap();
    // A wrong extension does not matter: the contents say what it is.
    RgbImage::from_pixel(32, 32, Rgb([60, 50, 40])).save_with_format(cat.join("i.png"), ImageFormat::Bmp).unwrap();
    // The middle square counts: left and right of a wide picture are cut away.
    let wide = RgbImage::from_fn(64, 32, |x, _| Rgb(if (16..48).contains(&x) { [0, 255, 0] } else { [255, 0, 0] }));
    wide.save(cat.join("j.png")).unwrap();
    // None of these is a picture.
    fs::write(cat.join("notes.txt"), "not a picture").unwrap();
    fs::write(cat.join(".hidden"), [0; 9]).unwrap();
    fs::write(cat.join("no extension"), [0; 9]).unwrap();
    fs::create_dir(cat.join("folder.png")).unwrap();

    let data = open(folder.path()).unwrap();
    assert_eq!(data.name, folder.path().display().to_string());
    assert_eq!(data.classes, ["cat", "dog"], "classes are numbered by name");
    assert_eq!(data.train.labels, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], "the classes take turns");
    assert_eq!(data.test.labels, [0, 1]);
    assert_eq!(data.train.bytes.len(), 11 * SIZE);
    let flat = |index: usize, colour: [u8; 3]| {
        for (plane, value) in planes(&data.train, index).into_iter().zip(colour) {
            assert!(plane.iter().all(|&byte| byte == value), "picture {index} is not {colour:?}: {:?}", &plane[..4]);
        }
    };
    for (index, colour) in [(0, [200, 0, 0]), (3, [10, 20, 30]), (4, [77; 3]), (5, [1, 2, 3]), (6, [0x12, 0x80, 0xFF])]
    {
        flat(index, colour);
    }
    for (index, colour) in [(7, [9, 8, 7]), (8, [4, 5, 6]), (9, [60, 50, 40]), (10, [0, 255, 0]), (1, [0, 0, 200])] {
        flat(index, colour);
    }
    // A picture of the right size comes through unchanged, plane by plane and row by row.
    for (channel, plane) in planes(&data.train, 2).into_iter().enumerate() {
        let wanted: Vec<u8> = gradient(32, 32).pixels().map(|pixel| pixel.0[channel]).collect();
        assert!(plane == wanted, "channel {channel}");
    }
}

#[test]
fn a_larger_picture_is_averaged_down() {
    let folder = TempFolder::new("data");
    // Checks of one pixel would alias to black or white if pixels were picked instead of averaged.
    let checks = RgbImage::from_fn(128, 128, |x, y| Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3]));
    checks.save(folder.path().join("checks.png")).unwrap();
    let images = data::read_pictures(folder.path(), 10).unwrap();
    assert!(images.bytes.iter().all(|byte| (118..=138).contains(byte)), "{:?}", &images.bytes[..8]);
}

#[test]
fn bad_folders_and_pictures_each_give_one_line() {
    let folder = TempFolder::new("data");
    small_folders(folder.path());
    let broken = folder.path().join("train").join("dog").join("broken.png");
    let mut png = std::io::Cursor::new(Vec::new());
    DynamicImage::from(gradient(32, 32)).write_to(&mut png, ImageFormat::Png).unwrap();
    let png = png.into_inner();
    for contents in [&b"this is text"[..], &[], &png[..png.len() / 2]] {
        fs::write(&broken, contents).unwrap();
        assert_says(open(folder.path()), &broken, &["cannot read this picture"]);
    }
    // A side so long that decoding could exhaust the memory.
    RgbImage::new(20_000, 1).save(&broken).unwrap();
    assert_says(open(folder.path()), &broken, &["cannot read this picture"]);
    fs::remove_file(&broken).unwrap();
    open(folder.path()).unwrap();

    let missing = folder.path().join("test").join("dog");
    fs::remove_dir_all(&missing).unwrap();
    assert_says(open(folder.path()), &missing, &["cannot read", "it does not exist"]);

    fs::create_dir(&missing).unwrap();
    fs::remove_file(folder.path().join("test").join("cat").join("a.png")).unwrap();
    assert_says(open(folder.path()), &folder.path().join("test"), &["holds no pictures (png, jpg"]);

    for class in 0..9 {
        fs::create_dir(folder.path().join("train").join(format!("class {class}"))).unwrap();
    }
    assert_says(open(folder.path()), &folder.path().join("train"), &["it has 11 class folders", "1 to 10"]);

    let none = TempFolder::new("data");
    fs::create_dir(none.path().join("train")).unwrap();
    fs::create_dir(none.path().join("test")).unwrap();
    assert_says(open(none.path()), &none.path().join("train"), &["it has 0 class folders"]);
}

#[test]
fn pictures_without_classes() {
    let folder = TempFolder::new("data");
    let read = |count: usize| data::read_pictures(folder.path(), count).map_err(|error| error.to_string());
    assert_says(read(10), folder.path(), &["holds no pictures"]);
    for (name, value) in [("b.png", 2), ("a.png", 1)] {
        RgbImage::from_pixel(8, 8, Rgb([value; 3])).save(folder.path().join(name)).unwrap();
    }
    fs::create_dir(folder.path().join("inside")).unwrap();
    RgbImage::from_pixel(8, 8, Rgb([3; 3])).save(folder.path().join("inside").join("a.png")).unwrap();
    let first = |images: &Images| images.bytes.iter().step_by(SIZE).copied().collect::<Vec<_>>();
    let all = read(10).unwrap();
    assert_eq!((first(&all), all.labels), (vec![1, 2, 3], vec![0; 3]));
    assert_eq!(first(&read(2).unwrap()), [1, 2]);
    let missing = folder.path().join("nowhere");
    assert_says(data::read_pictures(&missing, 1).map_err(|e| e.to_string()), &missing, &["it does not exist"]);
}

#[test]
fn truncation_keeps_whole_pictures() {
    let images = data::fake_data(0, 0, 3);
    let two = images.clone().truncated(2);
    assert_eq!((two.count(), two.bytes.len()), (2, 2 * SIZE));
    assert!(two.bytes == images.bytes[..2 * SIZE] && two.labels == images.labels[..2]);
    assert_eq!(images.clone().truncated(99), images);
}

/// The share of a normal distribution below `z`.
fn normal_below(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// The exact distribution of a byte of torchvision's FakeData: a normal number times 255, cut off toward zero
/// and wrapped modulo 256.
fn fake_data_shares() -> [f64; 256] {
    let mut shares = [0.0; 256];
    let below = |whole: i32| normal_below(f64::from(whole) / 255.0);
    // Beyond 40 standard deviations nothing is left.
    for whole in -10_200i32..=10_200 {
        let share = match whole {
            0 => below(1) - below(-1),
            1.. => below(whole + 1) - below(whole),
            _ => below(whole) - below(whole - 1),
        };
        shares[whole.rem_euclid(256) as usize] += share;
    }
    shares
}

/// Pearson's statistic of bytes against their expected shares: 255 give or take 22.6 if they are right.
fn chi_square(bytes: &[u8], shares: &[f64; 256]) -> f64 {
    let mut counts = [0u64; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    let expected = |share: &f64| share * bytes.len() as f64;
    counts.iter().zip(shares).map(|(&count, share)| (count as f64 - expected(share)).powi(2) / expected(share)).sum()
}

/// Four standard deviations either way: too regular is as wrong as too irregular.
fn assert_distributed(what: &str, bytes: &[u8], shares: &[f64; 256]) {
    let statistic = chi_square(bytes, shares);
    assert!((165.0..345.0).contains(&statistic), "{what}: chi-square {statistic:.1} with 255 degrees of freedom");
}

const UNIFORM: [f64; 256] = [1.0 / 256.0; 256];

#[test]
fn fake_data_has_torchvisions_distribution() {
    let shares = fake_data_shares();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!((shares[0] - 0.005_47).abs() < 5e-6, "P(0) is {}", shares[0]);
    assert!(shares[1..].iter().all(|share| (share - 0.003_90).abs() < 1e-5), "{:?}", &shares[1..5]);

    let images = data::fake_data(0, 0, 1000);
    assert_eq!(images.bytes.len(), 1000 * SIZE);
    assert_distributed("FakeData", &images.bytes, &shares);
    assert!(chi_square(&images.bytes, &UNIFORM) > 1000.0, "it is not uniform noise");

    // On [0, 1]: mean .499 and standard deviation .290, each within four standard errors.
    let (mut mean, mut square) = (0.0, 0.0);
    for (byte, share) in shares.iter().enumerate() {
        mean += share * byte as f64 / 255.0;
        square += share * (byte as f64 / 255.0).powi(2);
    }
    let deviation = (square - mean * mean).sqrt();
    assert!((mean - 0.499).abs() < 5e-4 && (deviation - 0.290).abs() < 5e-4, "{mean} {deviation}");
    let count = images.bytes.len() as f64;
    let found = images.bytes.iter().map(|&byte| f64::from(byte) / 255.0).sum::<f64>() / count;
    assert!((found - mean).abs() < 4.0 * deviation / count.sqrt(), "mean {found}, not {mean}");
    let variance = images.bytes.iter().map(|&byte| (f64::from(byte) / 255.0 - found).powi(2)).sum::<f64>() / count;
    assert!((variance.sqrt() - deviation).abs() < 1e-3, "standard deviation {}, not {deviation}", variance.sqrt());

    // Labels are random classes: each of the ten about 100 times.
    let mut classes = [0; 10];
    for &label in &images.labels {
        classes[usize::from(label)] += 1;
    }
    assert!(classes.iter().all(|count| (60..=140).contains(count)), "{classes:?}");
}

/// The correlation of bytes that stand `distance` apart.
fn correlation(bytes: &[u8], distance: usize) -> f64 {
    let centred: Vec<f64> = bytes.iter().map(|&byte| f64::from(byte) - 127.4).collect();
    let product: f64 = centred.iter().zip(&centred[distance..]).map(|(a, b)| a * b).sum();
    product / centred.iter().map(|a| a * a).sum::<f64>()
}

#[test]
fn neighbouring_noise_is_independent() {
    for (what, images) in [("FakeData", data::fake_data(8, 0, 300)), ("uniform", data::uniform_noise(8, 300))] {
        // Pairs of one draw, rows, planes, pictures.
        for distance in [1, 2, 4, 32, 1024, SIZE] {
            let found = correlation(&images.bytes, distance);
            let limit = 4.0 / (images.bytes.len() as f64).sqrt();
            assert!(found.abs() < limit, "{what}: correlation {found:.5} at distance {distance}, limit {limit:.5}");
        }
    }
}

#[test]
fn an_offset_moves_along_the_same_pictures() {
    let all = data::fake_data(6, 0, 40);
    for offset in [1, 7, 30] {
        let moved = data::fake_data(6, offset as u32, 10);
        assert!(moved.bytes == all.bytes[offset * SIZE..(offset + 10) * SIZE], "offset {offset}");
        assert_eq!(moved.labels, all.labels[offset..offset + 10], "offset {offset}");
    }
    // The last possible picture is followed by the first.
    let around = data::fake_data(6, u32::MAX, 2);
    assert!(around.bytes[SIZE..] == all.bytes[..SIZE]);
}

#[test]
fn seeds_give_other_noise_and_the_same_seed_the_same() {
    let kinds: [fn(u64) -> Images; 3] = [
        |seed| data::fake_data(seed, 0, 4),
        |seed| data::uniform_noise(seed, 4),
        |seed| data::constant_colours(seed, 4),
    ];
    for (kind, make) in kinds.into_iter().enumerate() {
        assert_eq!(make(1), make(1), "kind {kind}");
        for other in [2, 1 << 32 | 1] {
            assert_ne!(make(1).bytes, make(other).bytes, "kind {kind}, seed {other}");
        }
        let images = make(1);
        let pictures: std::collections::HashSet<&[u8]> = images.bytes.chunks_exact(SIZE).collect();
        assert_eq!(pictures.len(), 4, "kind {kind}: pictures that differ");
    }
    assert_eq!(data::fake_data(0, 0, 0), Images::default());
}

#[test]
fn noise_is_the_same_on_every_machine() {
    // FNV-1a with 64 bits over pixels and then labels. A changed number here changes every published result.
    let hash =
        |images: Images| {
            images.bytes.iter().chain(&images.labels).fold(0xCBF2_9CE4_8422_2325u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
            })
        };
    assert_eq!(hash(data::fake_data(0, 0, 100)), 0x42AC_DA4F_42D9_3F25);
    assert_eq!(hash(data::uniform_noise(0, 100)), 0xFD73_6A1B_2C16_C1B5);
    assert_eq!(hash(data::constant_colours(0, 100)), 0x5793_4C33_52DD_A375);
}

#[test]
fn uniform_noise_is_uniform() {
    let images = data::uniform_noise(0, 1000);
    assert_eq!((images.count(), images.bytes.len()), (1000, 1000 * SIZE));
    assert_distributed("uniform noise", &images.bytes, &UNIFORM);
}

#[test]
fn constant_colours_are_constant_and_every_colour_comes() {
    let images = data::constant_colours(0, 20_000);
    let mut colours = Vec::with_capacity(3 * images.count());
    for picture in images.bytes.chunks_exact(SIZE) {
        for plane in picture.chunks_exact(1024) {
            assert!(plane.iter().all(|byte| *byte == plane[0]));
            colours.push(plane[0]);
        }
    }
    assert_distributed("constant colours", &colours, &UNIFORM);
}
