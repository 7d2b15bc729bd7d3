// perturb: one step of an attack on pixels along a gradient's signs (sign_step.wgsl), and an attack's random start.
// start: x' = clamp(x0 + eps d, low, high) with d uniform in [-1, 1), or with SIGNS = 1 either -1 or 1 (R+FGSM: Tramèr
// et al. 2018), from the words of the stream that is the
// image's own (item = first + image), so that an image's start does not depend on the batch that it is in.
// Needs scalar.wgsl or vec4.wgsl, sign_step.wgsl and random.wgsl before it. `step` treats one Value an invocation; `start_vectors` one
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

@compute @workgroup_size(64)
fn step(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    moved[i] = sign_step(x[i], gradient[i], x0[i]);
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
