//! A small network that has learnt something.

use shadegrad::autograd::Tape;
use shadegrad::data::Images;
use shadegrad::gpu::Gpu;
use shadegrad::models::architecture;
use shadegrad::nn::{Mode, Network, Optimizer, OptimizerKind};
use shadegrad::ops::gather::{self, ByteSet};
use shadegrad::ops::optimizer::Adam;

/// A lenet that knows 64 of the shapes by heart.
pub fn trained(gpu: &Gpu, images: &Images) -> Network {
    let network = Network::new(gpu, architecture("lenet").unwrap(), 1).unwrap();
    let rule = OptimizerKind::Adam(Adam::default());
    let mut optimizer = Optimizer::new(gpu, rule, network.parameters()).unwrap();
    let set = ByteSet::new(gpu, [3, 32, 32], &images.bytes, &images.labels).unwrap();
    let order = gpu.words(&(0..images.count() as u32).collect::<Vec<_>>()).unwrap();
    let tape = Tape::new(gpu);
    for step in 0..50 {
        let (x, labels) = gather::batch(gpu, &set, &order, step % 2 * 32, 32, None).unwrap();
        let bound = network.bind(&tape).unwrap();
        let output = network.forward(&tape, &bound, tape.leaf(&x), Mode::Evaluation).unwrap();
        let loss = tape.cross_entropy_mean(output, &labels, 0.0).unwrap();
        tape.backward(loss, bound.leaves()).unwrap();
        tape.reset();
        optimizer.step(gpu, network.parameters(), 3e-3).unwrap();
    }
    network
}
