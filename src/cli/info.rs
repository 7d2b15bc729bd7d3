//! `shadegrad info`.

use serde::Serialize;

use crate::gpu::{self, AdapterDetails};
use crate::lab::LabError;

use super::{Device, output};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object with all limits and features
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    adapters: Vec<AdapterDetails>,
}

pub fn run(args: &Args, device: &Device) -> Result<(), LabError> {
    let gpu = device.open_unchecked(args.json)?;
    let adapters = gpu::list_adapters(device.adapter.as_deref())?;
    if args.json {
        return output::json(&Report { version: env!("CARGO_PKG_VERSION"), adapters });
    }
    for details in &adapters {
        let mark = if details.chosen { "*" } else { " " };
        output::say(&format!("{mark} {}: {}", details.index, details.summary.line().trim_start_matches("adapter: ")));
        let mib = |name: &str| details.limits[name].as_u64().unwrap_or(0) >> 20;
        output::say(&format!(
            "     largest buffer {} MiB, largest binding {} MiB, {} invocations a workgroup, {} KiB workgroup memory, {} features",
            mib("max_buffer_size"),
            mib("max_storage_buffer_binding_size"),
            details.limits["max_compute_invocations_per_workgroup"],
            details.limits["max_compute_workgroup_storage_size"].as_u64().unwrap_or(0) >> 10,
            details.features.len(),
        ));
        if !details.cooperative_matrices.is_empty() {
            output::say(&format!("     cooperative matrices {}", details.cooperative_matrices.join(", ")));
        }
    }
    output::say(&format!(
        "* is used by this command line; the largest array that fits one binding on it has {} MiB",
        gpu.max_binding_bytes() >> 20
    ));
    Ok(())
}
