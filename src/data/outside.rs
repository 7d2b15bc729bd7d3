//! Pictures that a network was not trained for, by the names that the command line has for them.

use super::download::{CIFAR100, SVHN};
use super::{
    DataError, Images, blobs, constant_colours, fake_data, gaussian_noise, held_out, outliers, rademacher_noise,
    uniform_noise,
};

/// Noise of a name, if it is one's.
fn noise(name: &str, seed: u64, count: usize) -> Option<Images> {
    Some(match name {
        "fake" => fake_data(seed, 0, count),
        "uniform" => uniform_noise(seed, count),
        "gaussian" => gaussian_noise(seed, count),
        "rademacher" => rademacher_noise(seed, count),
        "constant" => constant_colours(seed, count),
        "blobs" => blobs(seed, count),
        _ => return None,
    })
}

/// Whether a name is that of noise, which is made rather than read.
pub fn is_noise(name: &str) -> bool {
    noise(name, 0, 0).is_some()
}

/// At most `count` pictures of noise (of this seed), of another set, or of the classes that the data set `data` leaves
/// out (`held-out`).
///
/// # Errors
/// Files that cannot be read, or a set that leaves nothing out.
pub fn outside(name: &str, data: &str, (seed, count): (u64, usize)) -> Result<Images, DataError> {
    match noise(name, seed, count) {
        Some(images) => Ok(images),
        None if name == "held-out" => Ok(held_out(data)?.truncated(count)),
        None => outliers(name, count),
    }
}

/// What plots and reports call it.
pub fn shown_name(name: &str) -> &str {
    match name {
        "fake" => "FakeData",
        "uniform" => "uniform noise",
        "gaussian" => "Gaussian noise",
        "rademacher" => "Rademacher noise",
        "constant" => "plain colours",
        "held-out" => "held-out classes",
        "cifar100" => CIFAR100.title,
        "svhn" => SVHN.title,
        folder => folder.trim_end_matches('/').rsplit('/').next().unwrap_or(folder),
    }
}
