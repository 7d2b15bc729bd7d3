// perturb: one step of an attack on pixels, x' = clamp(x + step s, low, high), where s is the gradient's sign and
// the sign of 0 is 0 (FGSM: Goodfellow et al. 2015). With PROJECT = 1 the moved pixel is first brought back into the
// ball around the clean one, [x0 - eps, x0 + eps] (PGD: Madry et al. 2018). A step of eps from x0 itself needs no
// projection, and without one x0 + step s is rounded once, as PyTorch rounds it.
// start: x' = clamp(x0 + eps d, low, high) with d uniform in [-1, 1), from the words of the stream that is the
// image's own (item = first + image), so that an image's start does not depend on the batch that it is in.
// A gradient that is not finite goes through as the pixel: it must be seen, not pass for "no perturbation".
// Needs random.wgsl before it. The kernels on vectors treat four elements an invocation and need extents that are
// multiples of four; those on scalars treat one (step) or one block of the stream (start).
// Grid: linear over the vectors, the elements or the blocks, 64 invocations a workgroup.

struct Params { count: u32, step: f32, eps: f32, low: f32, high: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gradient: array<f32>;
@group(0) @binding(3) var<storage, read> x0: array<f32>;
@group(0) @binding(4) var<storage, read_write> moved: array<f32>;

@group(0) @binding(1) var<storage, read> x_vectors: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> gradient_vectors: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x0_vectors: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> moved_vectors: array<vec4<f32>>;

// blocks: of the stream, for one image; size: elements of one image
struct Start { blocks: u32, images: u32, size: u32, first: u32, purpose: u32, seed_low: u32, seed_high: u32,
               eps: f32, low: f32, high: f32 }
@group(0) @binding(0) var<uniform> q: Start;
@group(0) @binding(2) var<storage, read_write> started: array<f32>;
@group(0) @binding(2) var<storage, read_write> started_vectors: array<vec4<f32>>;

// Sign and finiteness are read off the bits: an adapter may flush subnormal numbers to zero in a comparison, and
// WGSL lets a compiler assume that no value is NaN.
fn step_of(v: vec4<f32>, g: vec4<f32>, v0: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(g);
    let size = bits & vec4<u32>(0x7fffffffu);
    let along = select(vec4<f32>(p.step), vec4<f32>(-p.step), bits != size);
    var to = v + select(along, vec4<f32>(0.0), size == vec4<u32>(0u));
    if PROJECT == 1u { to = clamp(to, v0 - p.eps, v0 + p.eps); }
    to = clamp(to, vec4<f32>(p.low), vec4<f32>(p.high));
    return select(to, g, size >= vec4<u32>(0x7f800000u));
}

@compute @workgroup_size(64)
fn step_vectors(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count / 4u { return; }
    var v0 = vec4<f32>(0.0);
    if PROJECT == 1u { v0 = x0_vectors[i]; }
    moved_vectors[i] = step_of(x_vectors[i], gradient_vectors[i], v0);
}

@compute @workgroup_size(64)
fn step_scalars(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    moved[i] = step_of(vec4<f32>(x[i]), vec4<f32>(gradient[i]), vec4<f32>(x0[i])).x;
}

fn start_of(v0: vec4<f32>, image: u32, block: u32) -> vec4<f32> {
    let words = random_block(block, q.first + image, q.purpose, vec2<u32>(q.seed_low, q.seed_high));
    let drawn = 2.0 * vec4<f32>(unit(words.x), unit(words.y), unit(words.z), unit(words.w)) - 1.0;
    return clamp(v0 + q.eps * drawn, vec4<f32>(q.low), vec4<f32>(q.high));
}

@compute @workgroup_size(64)
fn start_vectors(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= q.blocks * q.images { return; }
    started_vectors[i] = start_of(x_vectors[i], i / q.blocks, i % q.blocks);
}

@compute @workgroup_size(64)
fn start_scalars(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= q.blocks * q.images { return; }
    let image = i / q.blocks;
    let block = i % q.blocks;
    for (var j = 0u; j < 4u; j++) {
        let within = block * 4u + j;
        if within >= q.size { return; }
        let at = image * q.size + within;
        started[at] = start_of(vec4<f32>(x[at]), image, block)[j];
    }
}
