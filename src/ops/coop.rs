//! What the kernels with cooperative matrices have in common (`shaders/*_coop.wgsl`): their tile, and the powers of two
//! that bring their operands into the range of f16.

use super::kernel;
use crate::gpu::{Const, Gpu, GpuError, Grid, Kernel, Result, Tensor};

static PEAK: Kernel = kernel!("peak", "peak", "peak", "rw");

/// Values that an invocation of `peak.wgsl` looks at.
const EACH: usize = 16;

/// The bits of the largest |x| of each operand; `coop_scale.wgsl` makes scales of them.
pub(super) fn peaks(gpu: &Gpu, operands: [&Tensor; 2]) -> Result<Tensor> {
    let peaks = gpu.zeros([2])?;
    for (which, operand) in operands.into_iter().enumerate() {
        let consts = [("WHICH", which as u32), ("EACH", EACH as u32)];
        let grid = Grid::linear(operand.count(), 256 * EACH);
        gpu.launch(&PEAK, &consts, &[operand.count() as u32], &[operand.span(), peaks.span()], grid)?;
    }
    Ok(peaks)
}

/// The tile of a workgroup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// Rows and columns of a matrix: 8 or 16.
    extent: usize,
    lanes: usize,
    subgroups: usize,
}

impl Tile {
    /// The tile on this device; an error where it was not opened for f16.
    pub(super) fn on(gpu: &Gpu, operation: &'static str) -> Result<Self> {
        let found = gpu
            .cooperative()
            .ok_or_else(|| GpuError::operand(operation, "cooperative matrices need a device opened for f16"))?;
        let smallest = found.lanes as usize;
        // A subgroup for each of four blocks; and no fewer invocations than a tile has columns.
        let lanes = (4 * smallest).max(4 * found.extent);
        Ok(Self { extent: found.extent, lanes, subgroups: lanes / smallest })
    }

    /// Rows of the workgroup's tile, and columns.
    pub(super) fn side(&self) -> usize {
        4 * self.extent
    }

    /// Of the two forms of a kernel, for matrices of 8 x 8 and of 16 x 16, the one for this tile.
    pub(super) fn of(&self, kernels: &'static [Kernel; 2]) -> &'static Kernel {
        &kernels[usize::from(self.extent == 16)]
    }

    /// The tile as the kernels take it.
    pub(super) fn consts(&self) -> [Const; 2] {
        [("LANES", self.lanes as u32), ("SUBGROUPS", self.subgroups as u32)]
    }
}

/// A kernel for matrices of 8 x 8 and for those of 16 x 16.
macro_rules! coop_kernels {
    ($name:literal, $file:literal, $entry:literal, $access:literal) => {
        [
            kernel!($name, "coop8" "coop_scale" $file, $entry, $access),
            kernel!($name, "coop16" "coop_scale" $file, $entry, $access),
        ]
    };
}
pub(super) use coop_kernels;
