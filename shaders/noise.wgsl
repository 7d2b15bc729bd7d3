// noise: x[i] = low + (high - low) u_i (uniform), or mean + deviation z_i (normal), from word i of a stream.
// The normal quantile is read from a table in fixed point and interpolated in integers (see
// src/ops/noise.rs), so that z has the same bits on every adapter.
// Needs random.wgsl before it. Grid: linear over ceil(count / 4), 64 invocations a workgroup; one
// invocation writes the four numbers of one Philox block.

// normal_of_images: the same for each image of a batch from a stream of its own, item + image, `blocks` blocks long.

struct Params { count: u32, item: u32, purpose: u32, seed_low: u32, seed_high: u32, offset: f32, factor: f32,
                blocks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read> quantiles: array<i32>;

// A 32-bit word to a standard normal number: sign from the top bit, tail probability q/2^32 from the rest.
// Each halving of q has 256 knots; between two knots the quantile is interpolated linearly.
fn normal(word: u32) -> f32 {
    let q = word & 0x7fffffffu;
    let octave = min(countLeadingZeros(q) - 1u, 30u);
    let width = 30u - octave;                       // bits below the leading one
    let rest = q & ((1u << width) - 1u);
    let shifted = rest << (31u - width) ;           // as a fraction of the octave, 31 bits
    let knot = octave * 257u + (shifted >> 23u);
    let low = quantiles[knot];
    let high = quantiles[knot + 1u];
    let step = u32(low - high);                     // quantiles fall as q grows
    let fraction = (shifted >> 7u) & 0xffffu;
    let value = low - i32((step * fraction) >> 16u);
    let magnitude = f32(value) * (1.0 / 1048576.0);
    return select(magnitude, -magnitude, (word >> 31u) == 1u);
}

@compute @workgroup_size(64)
fn uniform_noise(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
    let block = (group.y * groups.x + group.x) * 64u + lane;
    let words = random_block(block, p.item, p.purpose, vec2<u32>(p.seed_low, p.seed_high));
    for (var j = 0u; j < 4u; j++) {
        let i = block * 4u + j;
        if i < p.count { x[i] = p.offset + p.factor * unit(words[j]); }
    }
}

@compute @workgroup_size(64)
fn normal_noise(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let block = (group.y * groups.x + group.x) * 64u + lane;
    let words = random_block(block, p.item, p.purpose, vec2<u32>(p.seed_low, p.seed_high));
    for (var j = 0u; j < 4u; j++) {
        let i = block * 4u + j;
        if i < p.count { x[i] = p.offset + p.factor * normal(words[j]); }
    }
}

@compute @workgroup_size(64)
fn normal_of_images(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                    @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i * 4u >= p.count { return; }
    let item = p.item + i / p.blocks;
    let words = random_block(i % p.blocks, item, p.purpose, vec2<u32>(p.seed_low, p.seed_high));
    for (var j = 0u; j < 4u; j++) { x[i * 4u + j] = p.offset + p.factor * normal(words[j]); }
}
