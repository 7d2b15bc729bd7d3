//! What wgpu reports outside of any call that could have returned it.

use std::sync::Mutex;

use super::GpuError;

/// An error that wgpu reported to a callback rather than to a caller.
pub(super) enum Fault {
    Lost(String),
    Memory,
    Other(String),
}

impl Fault {
    pub(super) fn of(error: &wgpu::Error) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => Self::Memory,
            other => Self::Other(other.to_string()),
        }
    }

    pub(super) fn error(&self) -> GpuError {
        match self {
            Self::Lost(reason) => GpuError::DeviceLost { reason: reason.clone() },
            Self::Memory => GpuError::OutOfDriverMemory,
            Self::Other(reason) => GpuError::Device { reason: reason.clone() },
        }
    }
}

/// Keeps the first of several.
pub(super) fn note(fault: &Mutex<Option<Fault>>, new: Fault) {
    // A poisoned lock still holds the first fault, which is the one that counts.
    let mut slot = fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    slot.get_or_insert(new);
}

#[cfg(test)]
mod tests {
    use super::Fault;
    use crate::gpu::GpuError;

    /// What wgpu tells a callback rather than a caller keeps its kind.
    #[test]
    fn memory_that_a_driver_lacks_is_an_error_of_its_own() {
        let source = || Box::new(std::io::Error::other("none left"));
        let lacking = Fault::of(&wgpu::Error::OutOfMemory { source: source() }).error();
        assert!(matches!(lacking, GpuError::OutOfDriverMemory), "{lacking:?}");
        assert!(lacking.to_string().contains("--batch"), "{lacking}");
        let other = wgpu::Error::Internal { source: source(), description: "odd".to_owned() };
        assert!(matches!(Fault::of(&other).error(), GpuError::Device { .. }));
    }
}
