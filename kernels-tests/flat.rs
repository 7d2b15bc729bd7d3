//! Memory stays flat, on the device and on the host, over as many steps as one likes. A file of its own, so that no other
//! test moves the host's memory meanwhile.

use shadegrad::gpu::{Gpu, GpuOptions};
use shadegrad::lab::workload::{Kind, Workload};

/// Bytes of this process's memory that are resident, where the system says so.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

/// `SHADEGRAD_STEPS=10000` takes ten thousand.
#[test]
fn memory_is_flat_over_many_steps() {
    let steps: usize = std::env::var("SHADEGRAD_STEPS").map_or(300, |text| text.parse().unwrap());
    for kind in [Kind::Train, Kind::Attack] {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let mut work = Workload::new(&gpu, kind, "lenet", 16).unwrap();
        let mut take = |count| {
            (0..count).for_each(|_| work.step().unwrap());
            gpu.wait().unwrap();
            let memory = gpu.memory();
            ([memory.live + memory.pooled, memory.peak], resident())
        };
        // What compiles and allocates does so at the beginning.
        let (before, host_before) = take(100);
        let (after, host_after) = take(steps);
        let name = kind.name();
        println!("{steps} {name} steps: GPU {before:?} then {after:?}, host {host_before:?} then {host_after:?}");
        assert_eq!(before, after, "bytes on the GPU");
        if let (Some(before), Some(after)) = (host_before, host_after) {
            // Less than what three hundred steps would leave if each left one picture's pixels.
            assert!(after < before + (3 << 20), "{before} bytes grew to {after}");
        }
    }
}
