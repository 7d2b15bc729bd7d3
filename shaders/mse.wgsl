// mse: loss[n] = mean over d of (a[n, d] - b[n, d])^2, the reconstruction error of each image.
// Backward: da = 2 (a - b) / D g, with g = dloss[n], or dloss[0] / N for the mean (MEAN = 1); db = -da (p.sign = -1).
// Needs scalar.wgsl or vec4.wgsl before it, and tree.wgsl: a row of LENGTH = D values falls into Values of EACH = 1 or 4.
// Grid: forward: linear over the rows, one workgroup of LANES = 64 / EACH a row: sums 0 to 63 take every 64th element of the row,
// EACH of them to a lane, and are added in a tree, so that both kinds of Value give the same bits.
// Backward: linear over the Values, 64 a workgroup.

struct Params { rows: u32, sign: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Value>;
@group(0) @binding(2) var<storage, read> b: array<Value>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> da: array<Value>;

// Values of a row.
const ACROSS = LENGTH / EACH;

alias Part = f32;

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let n = group.y * groups.x + group.x;
    var sum = Value();
    if n < p.rows {
        for (var d = lane; d < ACROSS; d += LANES) {
            let difference = a[n * ACROSS + d] - b[n * ACROSS + d];
            sum += difference * difference;
        }
    }
    for (var j = 0u; j < EACH; j++) { // unroll
        parts[lane * EACH + j] = part(sum, j);
    }
    let total = added(lane);
    if (lane == 0u) & (n < p.rows) { loss[n] = total / f32(LENGTH); }
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.rows * ACROSS { return; }
    var g = 0.0;
    if MEAN == 1u { g = dloss[0] / f32(p.rows); } else { g = dloss[i / ACROSS]; }
    da[i] = p.sign * 2.0 * (a[i] - b[i]) / f32(LENGTH) * g;
}
