//! What must hold of every attack, whatever its settings.

use crate::gpu::{Gpu, Result as GpuResult};
use crate::nn::{NamedArray, Network};

use super::{AttackError, Result};

/// The distance of neighbouring f32 numbers just below 1: a pixel moved by eps is rounded by half of it at most.
const ULP: f64 = 1.0 / 16_777_216.0;

/// How far pictures may be from the clean ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    LInf(f32),
    L2(f32),
    /// Anywhere in [0, 1].
    None,
}

/// The L2 distance of each picture of `size` elements.
pub(super) fn distances(clean: &[f32], moved: &[f32], size: usize) -> Vec<f64> {
    let square = |(a, b): (&f32, &f32)| (f64::from(*b) - f64::from(*a)).powi(2);
    let pairs = clean.chunks_exact(size).zip(moved.chunks_exact(size));
    pairs.map(|(clean, moved)| clean.iter().zip(moved).map(square).sum::<f64>().sqrt()).collect()
}

/// Checks pictures of `size` elements each, of which the first is number `first` of the set: every pixel finite, in
/// [0, 1] and within the bound of the clean one, and the same bits where the bound is 0.
pub(super) fn pictures(clean: &[f32], moved: &[f32], size: usize, first: usize, bound: Bound) -> Result<()> {
    let eps = if let Bound::LInf(eps) = bound { eps } else { f32::MAX };
    let most = f64::from(eps) + ULP;
    let still = bound == Bound::LInf(0.0) || bound == Bound::L2(0.0);
    for (number, (clean, moved)) in clean.chunks_exact(size).zip(moved.chunks_exact(size)).enumerate() {
        let image = first + number;
        for (&before, &after) in clean.iter().zip(moved) {
            // The step kernel lets a gradient that is not finite through as the pixel.
            if !after.is_finite() {
                return Err(AttackError::NotFinite { image });
            }
            if !(0.0..=1.0).contains(&after) {
                return Err(AttackError::OutOfRange { image, value: after });
            }
            if still && before.to_bits() != after.to_bits() {
                return Err(AttackError::Moved { image });
            }
            let distance = (f64::from(after) - f64::from(before)).abs();
            if distance > most {
                return Err(AttackError::OutOfBall { image, moved: distance, eps: f64::from(eps) });
            }
        }
    }
    if let Bound::L2(eps) = bound {
        let eps = f64::from(eps);
        // The norms are sums of f32, and each pixel is rounded once more when it is added.
        let most = eps * (1.0 + 4e-6) + ULP * (size as f64).sqrt();
        let far = distances(clean, moved, size).into_iter().enumerate().find(|(_, far)| *far > most);
        if let Some((number, moved)) = far {
            return Err(AttackError::OutOfL2Ball { image: first + number, moved, eps });
        }
    }
    Ok(())
}

/// Checks that every logit is finite. A ReLU's backward pass may make a zero of NaN, so that a gradient, and with it the
/// attacked picture, can look well where the forward pass was broken.
pub(super) fn logits(logits: &[f32], classes: usize, first: usize) -> Result<()> {
    match logits.iter().position(|logit| !logit.is_finite()) {
        Some(at) => Err(AttackError::NotFinite { image: first + at / classes }),
        None => Ok(()),
    }
}

/// A model's weights and buffers at one moment.
#[derive(Debug)]
pub(super) struct Snapshot(Vec<NamedArray>);

impl Snapshot {
    pub(super) fn of(gpu: &Gpu, network: &Network) -> GpuResult<Self> {
        Ok(Self(network.state(gpu)?))
    }

    /// Writes the buffers back as they were.
    pub(super) fn restore_buffers(&self, gpu: &Gpu, network: &Network) -> GpuResult<()> {
        for (name, tensor) in network.buffers() {
            if let Some((.., values)) = self.0.iter().find(|(kept, ..)| *kept == name) {
                gpu.write(&tensor, values)?;
            }
        }
        Ok(())
    }

    /// Checks that nothing is different now, to the bit.
    pub(super) fn compare(&self, gpu: &Gpu, network: &Network) -> Result<()> {
        let now = network.state(gpu)?;
        for ((name, _, before), (.., after)) in self.0.iter().zip(&now) {
            let same = before.iter().map(|value| value.to_bits()).eq(after.iter().map(|value| value.to_bits()));
            if !same {
                return Err(AttackError::ModelChanged { what: format!("the values of '{name}'") });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_logit_is_the_pictures_fault() {
        assert!(logits(&[0.0, -1e30, 3.0, 4.0], 2, 5).is_ok());
        assert!(matches!(logits(&[0.0, 1.0, 2.0, f32::NAN], 2, 5), Err(AttackError::NotFinite { image: 6 })));
        assert!(matches!(logits(&[f32::INFINITY, 1.0], 2, 5), Err(AttackError::NotFinite { image: 5 })));
    }

    #[test]
    fn each_promise_is_held_to() {
        let clean = [0.0, 0.5, 1.0, 0.25];
        let check = |moved: [f32; 4], eps: f32| pictures(&clean, &moved, 2, 7, Bound::LInf(eps));
        let eps = 8.0 / 255.0;
        assert!(check([eps, 0.5 - eps, 1.0, 0.25 + eps], eps).is_ok());
        assert!(check(clean, 0.0).is_ok());
        assert!(matches!(check([0.0, 0.5, 1.0, f32::NAN], eps), Err(AttackError::NotFinite { image: 8 })));
        assert!(matches!(check([0.0, 0.5, f32::INFINITY, 0.25], eps), Err(AttackError::NotFinite { image: 8 })));
        assert!(matches!(check([-1e-9, 0.5, 1.0, 0.25], eps), Err(AttackError::OutOfRange { image: 7, .. })));
        assert!(matches!(check([0.0, 0.5, 1.0 + 2e-7, 0.25], eps), Err(AttackError::OutOfRange { image: 8, .. })));
        assert!(matches!(check([0.0, 0.54, 1.0, 0.25], eps), Err(AttackError::OutOfBall { image: 7, .. })));
        assert!(matches!(check([-0.0, 0.5, 1.0, 0.25], 0.0), Err(AttackError::Moved { image: 7 })));
        let round = |moved: [f32; 4], eps: f32| pictures(&clean, &moved, 2, 7, Bound::L2(eps));
        assert!(round([0.3, 0.9, 1.0, 0.25], 0.5).is_ok());
        assert!(matches!(round([0.3, 0.9, 1.0, 0.25], 0.499), Err(AttackError::OutOfL2Ball { image: 7, .. })));
        assert!(matches!(round([0.0, 0.5, 1.0, f32::NAN], 9.0), Err(AttackError::NotFinite { image: 8 })));
        assert!(matches!(round([-0.0, 0.5, 1.0, 0.25], 0.0), Err(AttackError::Moved { image: 7 })));
        assert!(pictures(&clean, &[1.0, 1.0, 0.0, 0.0], 2, 7, Bound::None).is_ok());
    }
}
