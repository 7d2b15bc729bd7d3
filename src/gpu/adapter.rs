//! Which adapter to run on, and what it is.

use serde::Serialize;

use super::{GpuError, Result, precision};

/// What every log and every result says about the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct AdapterSummary {
    /// The adapter's own name, e.g. `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `gl`.
    pub backend: String,
    /// Driver and its version as the driver reports them.
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub device_type: String,
}

impl AdapterSummary {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let device_type = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        };
        Self {
            name: info.name,
            backend: info.backend.to_str().to_owned(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            device_type: device_type.to_owned(),
        }
    }

    /// Whether kernels run on the processor, through a software driver.
    pub fn is_software(&self) -> bool {
        self.device_type == "software"
    }

    /// Whether it is Mesa's software driver.
    pub fn is_llvmpipe(&self) -> bool {
        matches!(self.kind(), AdapterKind::Llvmpipe | AdapterKind::LlvmpipeSince25)
    }

    /// What kernels are chosen for.
    pub fn kind(&self) -> AdapterKind {
        let mesa: Option<u32> = self.driver.split("Mesa ").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
        match (self.is_software(), self.name.starts_with("llvmpipe"), mesa) {
            (false, ..) => AdapterKind::Gpu,
            (true, true, Some(25..)) => AdapterKind::LlvmpipeSince25,
            (true, true, _) => AdapterKind::Llvmpipe,
            (true, false, _) => AdapterKind::OtherSoftware,
        }
    }

    /// The line with which every command begins.
    pub fn line(&self) -> String {
        format!("adapter: {} ({}, {}), driver: {}", self.name, self.backend, self.device_type, self.driver)
    }

    /// A plain warning for software adapters, where there is one to give.
    pub fn warning(&self) -> Option<&'static str> {
        self.is_software().then_some(
            "warning: this is a software adapter: kernels run on the processor, many times slower than on a GPU",
        )
    }
}

/// Adapters for which the same kernels and tiles are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// Mesa's software driver: single reads are dear, many sums to an invocation are not.
    Llvmpipe,
    /// The same from Mesa 25 on: reads cost a quarter of what they cost before, compiling four times.
    LlvmpipeSince25,
    /// Another software driver. SwiftShader, the one that was measured, takes four times as long to compile llvmpipe's tiles as
    /// smaller ones, and is slower with them.
    OtherSoftware,
    /// What computes beside the processor.
    Gpu,
}

/// An adapter with all that `shadegrad info` prints.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterDetails {
    /// Position in the list; `--adapter INDEX` takes it.
    pub index: usize,
    /// Whether it is the one that is used.
    pub chosen: bool,
    #[serde(flatten)]
    pub summary: AdapterSummary,
    /// PCI vendor and device numbers.
    pub vendor: u32,
    pub device: u32,
    /// The limits that bound what can run.
    pub limits: serde_json::Value,
    /// Its cooperative matrices, as `MxNxK f16 to f32`.
    pub cooperative_matrices: Vec<String>,
    /// Names of the features that the adapter has.
    pub features: Vec<String>,
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

fn adapters() -> Vec<wgpu::Adapter> {
    let wanted = if cfg!(feature = "gl") { wgpu::Backends::all() } else { wgpu::Backends::PRIMARY };
    let found = pollster::block_on(instance().enumerate_adapters(wanted));
    found
        .into_iter()
        .filter(|adapter| adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS))
        .collect()
}

/// Discrete before integrated before virtual before unknown before software.
fn rank(adapter: &wgpu::Adapter) -> usize {
    match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// The place of the wanted adapter in the list (an index, or a part of a name in any case), or of the best one.
fn chosen_index(adapters: &[wgpu::Adapter], wanted: Option<&str>) -> Result<usize> {
    let best = (0..adapters.len()).min_by_key(|&index| rank(&adapters[index])).ok_or(GpuError::NoAdapter)?;
    let from_environment = std::env::var("SHADEGRAD_ADAPTER").ok().filter(|name| !name.is_empty());
    let Some(wanted) = wanted.map(str::to_owned).or(from_environment) else {
        return Ok(best);
    };
    let names: Vec<String> = adapters.iter().map(|adapter| adapter.get_info().name).collect();
    let chosen = match wanted.parse::<usize>() {
        Ok(index) => Some(index).filter(|&index| index < adapters.len()),
        Err(_) => names.iter().position(|name| name.to_lowercase().contains(&wanted.to_lowercase())),
    };
    chosen.ok_or_else(|| {
        let listed: Vec<String> = names.iter().enumerate().map(|(i, name)| format!("{i}: {name}")).collect();
        GpuError::AdapterNotFound { wanted, available: listed.join("; ") }
    })
}

/// Every adapter that can run compute shaders, in a stable order. `wanted` is as in [`super::GpuOptions`].
pub fn list_adapters(wanted: Option<&str>) -> Result<Vec<AdapterDetails>> {
    let found = adapters();
    let chosen = chosen_index(&found, wanted)?;
    let details = found
        .iter()
        .enumerate()
        .map(|(index, adapter)| {
            let info = adapter.get_info();
            let limits = adapter.limits();
            AdapterDetails {
                index,
                chosen: index == chosen,
                summary: AdapterSummary::of(adapter),
                vendor: info.vendor,
                device: info.device,
                limits: serde_json::json!({
                    "max_buffer_size": limits.max_buffer_size,
                    "max_storage_buffer_binding_size": limits.max_storage_buffer_binding_size,
                    "max_storage_buffers_per_shader_stage": limits.max_storage_buffers_per_shader_stage,
                    "max_compute_workgroups_per_dimension": limits.max_compute_workgroups_per_dimension,
                    "max_compute_invocations_per_workgroup": limits.max_compute_invocations_per_workgroup,
                    "max_compute_workgroup_storage_size": limits.max_compute_workgroup_storage_size,
                    "max_compute_workgroup_size": [
                        limits.max_compute_workgroup_size_x,
                        limits.max_compute_workgroup_size_y,
                        limits.max_compute_workgroup_size_z,
                    ],
                    "min_storage_buffer_offset_alignment": limits.min_storage_buffer_offset_alignment,
                    "min_uniform_buffer_offset_alignment": limits.min_uniform_buffer_offset_alignment,
                }),
                cooperative_matrices: precision::configurations(adapter),
                features: adapter.features().iter_names().map(|(name, _)| name.to_owned()).collect(),
            }
        })
        .collect();
    Ok(details)
}

/// Asked for where the adapter has them: half precision, subgroup operations, timing on the device, and compiled
/// pipelines to keep. No kernel needs any of them.
const WANTED: wgpu::Features = wgpu::Features::SHADER_F16
    .union(wgpu::Features::SUBGROUP)
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::PIPELINE_CACHE);

/// What `shaders/wide.wgsl` needs. A device has it where that is faster: on llvmpipe, if it can.
const WIDE_WORDS: wgpu::Features = wgpu::Features::SHADER_INT64;

/// Whether kernels read vectors by words of 64 bits on a device that [`connect`] made.
pub(super) fn reads_wide(device: &wgpu::Device) -> bool {
    device.features().contains(WIDE_WORDS)
}

/// A device of the adapter with all that it has: kernels are chosen by its limits, never beyond them. `cooperative`: with
/// its cooperative matrices.
pub(super) fn connect(adapter: &wgpu::Adapter, cooperative: bool) -> Result<(wgpu::Device, wgpu::Queue)> {
    let wanted = if AdapterSummary::of(adapter).is_llvmpipe() { WANTED | WIDE_WORDS } else { WANTED };
    let (needed, experimental_features) = if cooperative {
        // SAFETY: wgpu calls features experimental whose use may have faults that its validation does not see, and asks
        // that this be accepted. Only the kernels of this program run on the device; they are tested on every adapter that
        // the tests meet and by 'selftest --precision f16' on the user's, and nobody gets here who did not ask for f16.
        (precision::NEEDED, unsafe { wgpu::ExperimentalFeatures::enabled() })
    } else {
        (wgpu::Features::empty(), wgpu::ExperimentalFeatures::disabled())
    };
    let request = adapter.request_device(&wgpu::DeviceDescriptor {
        label: Some("shadegrad"),
        required_features: (adapter.features() & wanted) | needed,
        required_limits: adapter.limits(),
        experimental_features,
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    });
    let refused = |error: wgpu::RequestDeviceError| GpuError::DeviceRefused {
        adapter: adapter.get_info().name,
        reason: error.to_string(),
    };
    pollster::block_on(request).map_err(refused)
}

/// The wanted adapter, or the best one.
pub(super) fn choose(wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let mut found = adapters();
    let chosen = chosen_index(&found, wanted)?;
    Ok(found.swap_remove(chosen))
}

#[cfg(test)]
mod tests {
    use super::{AdapterKind, AdapterSummary};

    #[test]
    fn the_kind_is_read_from_what_the_driver_says() {
        let kind = |device_type: &str, name: &str, driver: &str| {
            let [name, backend, driver, device_type] = [name, "vulkan", driver, device_type].map(str::to_owned);
            AdapterSummary { name, backend, driver, device_type }.kind()
        };
        let llvmpipe = "llvmpipe (LLVM 15.0.6, 256 bits)";
        let mesa = |version: &str| kind("software", llvmpipe, &format!("llvmpipe Mesa {version} (LLVM 15.0.6)"));
        assert_eq!(mesa("22.3.6"), AdapterKind::Llvmpipe);
        assert_eq!(mesa("25.0.7-2~bpo12+1"), AdapterKind::LlvmpipeSince25);
        assert_eq!([mesa("git"), kind("software", llvmpipe, "Mesa")], [AdapterKind::Llvmpipe; 2]);
        assert_eq!(kind("software", "SwiftShader Device (Subzero)", "SwiftShader driver"), AdapterKind::OtherSoftware);
        assert_eq!(kind("discrete", "NVIDIA H200", "NVIDIA 550.54"), AdapterKind::Gpu);
        assert_eq!(kind("integrated", "Intel Arc", "Intel open-source Mesa driver Mesa 25.1.0"), AdapterKind::Gpu);
    }
}
