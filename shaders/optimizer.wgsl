// optimizer: one step over the one flat buffer of all parameters, gradients and moments.
// sgd:  g += decay w; v = momentum v + g; w -= rate (NESTEROV: g + momentum v, else v)     (as PyTorch)
// adam: m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= rate_m m / (sqrt(v) scale_v + epsilon)
//       with rate_m = rate / (1 - beta1^t) and scale_v = 1 / sqrt(1 - beta2^t) from the CPU in f64
//       (Kingma and Ba 2015); decay joins the gradient (Adam) or shrinks the weight, w -= rate decay w
//       (AdamW, Loshchilov and Hutter 2019; DECOUPLED = 1).
// Value is f32 or vec4<f32>; needs scalar.wgsl or vec4.wgsl before it. Grid: linear over count values, 64 invocations a workgroup.

struct Params {
    count: u32, rate: f32, decay: f32,
    momentum: f32,                                      // sgd
    beta1: f32, beta2: f32, epsilon: f32, rate_m: f32, scale_v: f32,   // adam
    rest1: f32, rest2: f32,                             // 1 - beta1 and 1 - beta2, rounded once from f64
}
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(1) var<storage, read_write> w: array<Value>;
@group(0) @binding(2) var<storage, read> gradient: array<Value>;
@group(0) @binding(3) var<storage, read_write> m: array<Value>;
@group(0) @binding(4) var<storage, read_write> v: array<Value>;

@compute @workgroup_size(64)
fn sgd(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
       @builtin(local_invocation_index) lane: u32) {
    p = given;
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let g = gradient[i] + p.decay * w[i];
    let velocity = p.momentum * m[i] + g;
    m[i] = velocity;
    if NESTEROV == 1u {
        w[i] -= p.rate * (g + p.momentum * velocity);
    } else {
        w[i] -= p.rate * velocity;
    }
}

@compute @workgroup_size(64)
fn adam(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    p = given;
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    var weight = w[i];
    var g = gradient[i];
    if DECOUPLED == 1u { weight -= p.rate * p.decay * weight; } else { g += p.decay * weight; }
    let first = p.beta1 * m[i] + p.rest1 * g;
    let second = p.beta2 * v[i] + p.rest2 * g * g;
    m[i] = first;
    v[i] = second;
    w[i] = weight - p.rate_m * first / (sqrt(second) * p.scale_v + Value(p.epsilon));
}
