// dropout (Srivastava et al. 2014): y[i] = x[i] / (1 - rate) where word i of the stream is kept, else 0.
// The mask is a function of the counter, so the backward pass draws it again instead of reading it: the
// same kernel on dy. A word is kept when it is at least threshold = rate 2^32.
// Needs random.wgsl before it. Grid: linear over ceil(count / 4), 64 invocations a workgroup.

struct Params { count: u32, item: u32, purpose: u32, seed_low: u32, seed_high: u32, threshold: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn dropout(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let block = (group.y * groups.x + group.x) * 64u + lane;
    let words = random_block(block, p.item, p.purpose, vec2<u32>(p.seed_low, p.seed_high));
    for (var j = 0u; j < 4u; j++) {
        let i = block * 4u + j;
        if i < p.count { y[i] = select(0.0, x[i] * p.factor, words[j] >= p.threshold); }
    }
}
