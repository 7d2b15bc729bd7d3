// mse: loss[n] = mean over d of (a[n, d] - b[n, d])^2, the reconstruction error of each image.
// Backward: da = 2 (a - b) / D g, with g = dloss[n], or dloss[0] / N for the mean (MEAN = 1); db = -da (p.sign = -1).
// Grid: forward: linear over the rows, one workgroup of 64 a row: lanes sum strided parts and add them
// in a fixed tree. Backward: linear over rows x D, 64 a workgroup.

struct Params { rows: u32, length: u32, sign: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> da: array<f32>;

var<workgroup> parts: array<f32, 64>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let n = group.y * groups.x + group.x;
    var sum = 0.0;
    if n < p.rows {
        for (var d = lane; d < p.length; d += 64u) {
            let difference = a[n * p.length + d] - b[n * p.length + d];
            sum += difference * difference;
        }
    }
    parts[lane] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half { parts[lane] += parts[lane + half]; }
    }
    if (lane == 0u) & (n < p.rows) { loss[n] = parts[0] / f32(p.length); }
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.rows * p.length { return; }
    var g = 0.0;
    if MEAN == 1u { g = dloss[0] / f32(p.rows); } else { g = dloss[i / p.length]; }
    da[i] = p.sign * 2.0 * (a[i] - b[i]) / f32(p.length) * g;
}
