//! What can go wrong on the device, each as one line that says what, where and what to do.

use super::Shape;

/// Errors of the GPU floor and of the operations on it.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The machine offers no adapter that can run compute shaders.
    #[error(
        "no GPU adapter found: install a Vulkan driver (Debian/Ubuntu: apt-get install mesa-vulkan-drivers; \
         Fedora: dnf install mesa-vulkan-drivers; Arch: pacman -S vulkan-swrast vulkan-icd-loader); \
         Windows and macOS need none"
    )]
    NoAdapter,

    /// `--adapter` or `SHADEGRAD_ADAPTER` names an adapter that is not there.
    #[error("no adapter matches '{wanted}': choose an index or a part of a name from: {available}")]
    AdapterNotFound { wanted: String, available: String },

    /// The driver refused to open a device.
    #[error("adapter '{adapter}' refused to open a device: {reason}")]
    DeviceRefused { adapter: String, reason: String },

    /// Operands whose shapes do not fit together, or a parameter out of range.
    #[error("{operation}: {problem}")]
    Operand { operation: &'static str, problem: String },

    /// One array is larger than the adapter can bind.
    #[error(
        "an array of {bytes} bytes is larger than the {limit} bytes that this adapter can bind at once: \
         use a smaller --batch"
    )]
    BindingTooLarge { bytes: u64, limit: u64 },

    /// The device has no memory left, even after giving back every pooled buffer.
    #[error("out of GPU memory: {bytes} more bytes wanted while {held} are in use: use a smaller --batch")]
    OutOfMemory { bytes: u64, held: u64 },

    /// The driver had no memory for something of its own: a copy on its way, a kernel.
    #[error("out of GPU memory: the driver has none left for copies and kernels: use a smaller --batch")]
    OutOfDriverMemory,

    /// A kernel did not compile or does not fit its description: a fault of this program.
    #[error("kernel '{kernel}' was rejected by the driver (please report this): {reason}")]
    Kernel { kernel: &'static str, reason: String },

    /// Every kernel that could do it was refused.
    #[error(
        "every kernel for {operation} computes wrong numbers on this adapter, as 'shadegrad selftest' found: use another \
         --adapter or a newer driver, or go on at your own risk with --allow-failed-kernels"
    )]
    NoVariant { operation: &'static str },

    /// The device was lost (driver crash, unplugged GPU, time-out of the operating system).
    #[error("the GPU device was lost: {reason}")]
    DeviceLost { reason: String },

    /// wgpu reported an error outside of any call that could have returned it.
    #[error("the GPU reported an error: {reason}")]
    Device { reason: String },

    /// Found by [`super::Gpu::check_finite`].
    #[error(
        "operation '{kernel}' in step {step} is the first to write numbers that are not finite ({numbers} of them); its \
         arrays in order: {arrays}"
    )]
    NotFinite { kernel: &'static str, step: u64, numbers: u64, arrays: String },

    /// A profile was asked for where the device cannot time its work.
    #[error(
        "adapter '{adapter}' has no timestamp queries, so it cannot say where its time goes: use another --adapter"
    )]
    NoTimestamps { adapter: String },

    /// `--precision f16` on an adapter that cannot multiply by cooperative matrices.
    #[error(
        "adapter '{adapter}' cannot compute with --precision f16: it has no {missing} ('shadegrad info' lists what \
         adapters have; without the option everything is f32)"
    )]
    NoCooperativeMatrices { adapter: String, missing: String },

    /// A variable of the tape was used after its graph had been dropped.
    #[error(
        "{operation}: a variable was used after its graph was gone (the tape has been reset or belongs to another step)"
    )]
    StaleVariable { operation: &'static str },
}

impl GpuError {
    /// An operand error; `problem` names shapes.
    pub fn operand(operation: &'static str, problem: impl Into<String>) -> Self {
        Self::Operand { operation, problem: problem.into() }
    }

    /// Checks that a tensor has the shape that an operation needs.
    pub fn expect_shape(operation: &'static str, what: &str, found: Shape, wanted: Shape) -> Result<(), Self> {
        if found == wanted {
            return Ok(());
        }
        Err(Self::operand(operation, format!("{what} has shape {found}, but {wanted} is needed")))
    }
}
