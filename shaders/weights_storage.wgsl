// weights_storage: a convolution's weights in a storage buffer, of any number.
//
// Put before conv2d_subgroup.wgsl or conv2d_taps.wgsl.

@group(0) @binding(2) var<storage, read> weights: array<f32>;

fn weight(i: u32) -> f32 { return weights[i]; }
