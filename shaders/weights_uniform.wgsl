// weights_uniform: a convolution's weights in a uniform buffer, of 64 KiB at the most.
//
// For software adapters: llvmpipe reads a storage buffer lane by lane in a loop, behind tests of mask and end, and a uniform buffer
// without one, in a sixth of the instructions. (GPUs are quick where all lanes read one address there, which here none does.)
// Put before conv2d_subgroup.wgsl or conv2d_taps.wgsl. QUADS: weights by fours, the last perhaps not full.

@group(0) @binding(2) var<uniform> weights: array<vec4<f32>, QUADS>;

fn weight(i: u32) -> f32 { return weights[i / 4u][i % 4u]; }
