// cross_entropy: loss[n] = logsumexp(z) - (1 - s) z[label] - (s / C) sum of z, for logits z[n, 0..C]: log-softmax
// and negative log-likelihood in one, with label smoothing s (Szegedy et al. 2016, as PyTorch has it).
// Backward: dz = (softmax(z) - (1 - s) onehot - s / C) g, with g = dloss[n] (UPSTREAM = 0), dloss[0] / N for the mean (1),
// or 1 for the sum (2).
// Grid: linear over the rows, 64 invocations a workgroup; one invocation a row.

struct Params { rows: u32, classes: u32, smoothing: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;

fn maximum(start: u32) -> f32 {
    var top = logits[start];
    for (var c = 1u; c < p.classes; c++) { top = max(top, logits[start + c]); }
    return top;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * 64u + lane;
    if n >= p.rows { return; }
    let start = n * p.classes;
    let top = maximum(start);
    var sum = 0.0;
    var total = 0.0;                // of z - top, so that nothing large cancels
    for (var c = 0u; c < p.classes; c++) {
        sum += exp(logits[start + c] - top);
        total += logits[start + c] - top;
    }
    let chosen = logits[start + labels[n]] - top;
    loss[n] = log(sum) - (1.0 - p.smoothing) * chosen - p.smoothing * total / f32(p.classes);
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * 64u + lane;
    if n >= p.rows { return; }
    let start = n * p.classes;
    let top = maximum(start);
    var sum = 0.0;
    for (var c = 0u; c < p.classes; c++) { sum += exp(logits[start + c] - top); }
    var g = 1.0;
    if UPSTREAM == 0u { g = dloss[n]; }
    if UPSTREAM == 1u { g = dloss[0] / f32(p.rows); }
    for (var c = 0u; c < p.classes; c++) {
        let target_share = p.smoothing / f32(p.classes) + select(0.0, 1.0 - p.smoothing, c == labels[n]);
        dlogits[start + c] = (exp(logits[start + c] - top) / sum - target_share) * g;
    }
}
