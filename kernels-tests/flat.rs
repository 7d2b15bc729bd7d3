//! Memory stays flat, on the device and on the host, over as many steps as one likes. A file of its own, so that no other
//! test moves the host's memory meanwhile.

use std::sync::Mutex;

use shadegrad::attack::{Attacker, Convention, Method, Pgd, Target};
use shadegrad::data::fake_data;
use shadegrad::gpu::{Gpu, GpuOptions};
use shadegrad::lab::workload::{Kind, Workload};
use shadegrad::models;
use shadegrad::nn::Network;

/// The tests here take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Less than what three hundred steps would leave if each left one picture's pixels.
const SLACK: u64 = 3 << 20;

/// Bytes of this process's memory that are resident, where the system says so.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

/// `SHADEGRAD_STEPS=10000` takes ten thousand.
fn wanted_steps() -> usize {
    std::env::var("SHADEGRAD_STEPS").map_or(300, |text| text.parse().unwrap())
}

/// Bytes held and at most held on the device once all is done, and the host's.
fn memory(gpu: &Gpu) -> ([u64; 2], Option<u64>) {
    gpu.wait().unwrap();
    let memory = gpu.memory();
    ([memory.held, memory.peak], resident())
}

fn assert_flat(
    what: &str,
    (before, host_before): ([u64; 2], Option<u64>),
    (after, host_after): ([u64; 2], Option<u64>),
) {
    println!("{what}: GPU {before:?} then {after:?}, host {host_before:?} then {host_after:?}");
    assert_eq!(before, after, "{what}: bytes on the GPU");
    if let (Some(before), Some(after)) = (host_before, host_after) {
        assert!(after < before + SLACK, "{what}: {before} bytes grew to {after}");
    }
}

#[test]
fn memory_is_flat_over_many_steps() {
    let _turn = TURN.lock();
    let steps = wanted_steps();
    for kind in [Kind::Train, Kind::Attack] {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let mut work = Workload::new(&gpu, kind, "lenet", 16).unwrap();
        let mut take = |count| {
            (0..count).for_each(|_| work.step().unwrap());
            memory(&gpu)
        };
        // What compiles and allocates does so at the beginning.
        let (before, after) = (take(100), take(steps));
        assert_flat(&format!("{steps} {} steps", kind.name()), before, after);
    }
}

/// One attack of many steps, beside one of a hundred: a tenth of the steps above, a thousand of ten thousand.
#[test]
fn memory_is_flat_over_many_steps_of_pgd() {
    let _turn = TURN.lock();
    let steps = (wanted_steps() / 10).max(100) as u32;
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let network = Network::new(&gpu, models::architecture("lenet").unwrap(), 0).unwrap();
    let images = fake_data(0, 0, 16);
    let pixels: Vec<f32> = images.bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    let x = gpu.tensor([16, 3, 32, 32], &pixels).unwrap();
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 0).unwrap();
    let batch = attacker.batch(&x, &images.labels, 0).unwrap();
    let attack = |steps: u32| {
        drop(batch.attack(Method::Pgd(Pgd::new(steps)), Target::Untargeted, 8.0 / 255.0).unwrap());
        memory(&gpu)
    };
    let (before, after) = (attack(100), attack(steps));
    assert_flat(&format!("{steps} steps of PGD"), before, after);
}
