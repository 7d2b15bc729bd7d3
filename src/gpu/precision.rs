//! Half precision by cooperative matrices (tensor cores): what an adapter must have for it.

use serde::{Deserialize, Serialize};

use super::{GpuError, Result};

/// What products are computed from. Sums, and all arrays in memory, are f32 in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    /// Operands are rounded to f16 where a kernel multiplies by cooperative matrices.
    F16,
}

impl Precision {
    /// The name in results and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }
}

/// The cooperative matrices of a device that was opened for them: f16 in, f32 out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// Rows and columns of each of the three matrices.
    pub extent: usize,
    /// Lanes of the smallest subgroup.
    pub lanes: u32,
}

/// Features that the kernels need.
pub(super) const NEEDED: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);

fn kind(scalar: wgpu::CooperativeScalarType) -> &'static str {
    match scalar {
        wgpu::CooperativeScalarType::F32 => "f32",
        wgpu::CooperativeScalarType::F16 => "f16",
        wgpu::CooperativeScalarType::I32 => "i32",
        wgpu::CooperativeScalarType::U32 => "u32",
    }
}

/// The configurations of an adapter, as `M x N x K: what is multiplied, what is summed`.
pub(super) fn configurations(adapter: &wgpu::Adapter) -> Vec<String> {
    let described = |found: wgpu::CooperativeMatrixProperties| {
        let [m, n, k] = [found.m_size, found.n_size, found.k_size];
        format!("{m}x{n}x{k} {} to {}", kind(found.ab_type), kind(found.cr_type))
    };
    adapter.cooperative_matrix_properties().into_iter().map(described).collect()
}

/// The configuration that the kernels will use: the larger one, if there are both.
pub(super) fn choose(adapter: &wgpu::Adapter) -> Result<Cooperative> {
    let info = adapter.get_info();
    let missing = |missing: String| GpuError::NoCooperativeMatrices { adapter: info.name.clone(), missing };
    let absent: Vec<&str> = (NEEDED - adapter.features()).iter_names().map(|(name, _)| name).collect();
    if !absent.is_empty() {
        return Err(missing(absent.join(", ")));
    }
    let found = adapter.cooperative_matrix_properties();
    let offers = |extent: u32| {
        found.iter().any(|one| {
            [one.m_size, one.n_size, one.k_size] == [extent; 3]
                && one.ab_type == wgpu::CooperativeScalarType::F16
                && one.cr_type == wgpu::CooperativeScalarType::F32
        })
    };
    let extent = [16, 8].into_iter().find(|&extent| offers(extent));
    let extent = extent.ok_or_else(|| missing("16x16x16 or 8x8x8 matrices from f16 to f32".to_owned()))?;
    if info.subgroup_min_size == 0 {
        return Err(missing("the size of its subgroups".to_owned()));
    }
    Ok(Cooperative { extent: extent as usize, lanes: info.subgroup_min_size })
}
