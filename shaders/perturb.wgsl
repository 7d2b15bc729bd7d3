// perturb: one step of an attack on pixels, x' = clamp(x + step s, low, high), where s is the gradient's sign and
// the sign of 0 is 0 (FGSM: Goodfellow et al. 2015), or with SIGNS = 1 it is 1 (ODIN: Liang et al. 2018). With PROJECT = 1 the moved pixel is first brought back into the
// ball around the clean one, [x0 - eps, x0 + eps] (PGD: Madry et al. 2018). A step of eps from x0 itself needs no
// projection, and without one x0 + step s is rounded once, as PyTorch rounds it.
// start: x' = clamp(x0 + eps d, low, high) with d uniform in [-1, 1), or with SIGNS = 1 either -1 or 1 (R+FGSM: Tramèr
// et al. 2018), from the words of the stream that is the
// image's own (item = first + image), so that an image's start does not depend on the batch that it is in.
// A gradient that is not finite goes through as the pixel: it must be seen, not pass for "no perturbation".
// Needs random.wgsl, and scalar.wgsl or vec4.wgsl, before it. `step` treats one Value an invocation; `start_vectors` one
// block of the stream, which is four elements, where an image's size is a multiple of four, and `start_scalars` the same
// for any size.
// Grid: linear over the values or the blocks, 64 invocations a workgroup.

struct Params { count: u32, step: f32, eps: f32, low: f32, high: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read> gradient: array<Value>;
@group(0) @binding(3) var<storage, read> x0: array<Value>;
@group(0) @binding(4) var<storage, read_write> moved: array<Value>;

@group(0) @binding(1) var<storage, read> x_scalars: array<f32>;
@group(0) @binding(1) var<storage, read> x_vectors: array<vec4<f32>>;

// blocks: of the stream, for one image; size: elements of one image
struct Start { blocks: u32, images: u32, size: u32, first: u32, purpose: u32, seed_low: u32, seed_high: u32,
               eps: f32, low: f32, high: f32 }
@group(0) @binding(0) var<uniform> q: Start;
@group(0) @binding(2) var<storage, read_write> started: array<f32>;
@group(0) @binding(2) var<storage, read_write> started_vectors: array<vec4<f32>>;

// Sign and finiteness are read off the bits: an adapter may flush subnormal numbers to zero in a comparison, and
// WGSL lets a compiler assume that no value is NaN.
@compute @workgroup_size(64)
fn step(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let g = gradient[i];
    let bits = bitcast<Bits>(g);
    let size = bits & Bits(0x7fffffffu);
    let along = select(Value(p.step), Value(-p.step), bits != size);
    let still = select(0.0, p.step, SIGNS == 1u);
    var to = x[i] + select(along, Value(still), size == Bits(0u));
    if PROJECT == 1u { to = clamp(to, x0[i] - Value(p.eps), x0[i] + Value(p.eps)); }
    to = clamp(to, Value(p.low), Value(p.high));
    moved[i] = select(to, g, size >= Bits(0x7f800000u));
}

fn start_of(v0: vec4<f32>, image: u32, block: u32) -> vec4<f32> {
    let words = random_block(block, q.first + image, q.purpose, vec2<u32>(q.seed_low, q.seed_high));
    var drawn = 2.0 * vec4<f32>(unit(words.x), unit(words.y), unit(words.z), unit(words.w)) - 1.0;
    if SIGNS == 1u { drawn = select(vec4<f32>(-1.0), vec4<f32>(1.0), words >= vec4<u32>(0x80000000u)); }
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
        started[at] = start_of(vec4<f32>(x_scalars[at]), image, block)[j];
    }
}
