// batch_norm (Ioffe and Szegedy 2015) over x[n, c, i]: y = (x - mean[c]) rstd[c] gamma[c] + beta[c].
// Training: mean first, then the centred variance (a sum of squares minus the squared mean would cancel),
// both per channel in a fixed tree (tree.wgsl, which it needs before it); running statistics move by `momentum`, the
// running variance being the unbiased one. Backward: one pass for both sums, then
//   dx = gamma rstd (dy - sum(dy) / M - xhat sum(dy xhat) / M)   with M = N I elements a channel (training)
//   dx = gamma rstd dy                                            (evaluation, TRAINING = 0)
// INNER: elements of a plane, a constant because a software adapter divides by it lane by lane where it is not.
// TURNS: how many elements of a sum are read before an invocation asks whether there are more.
// Grid: x = channels, so that what belongs to a channel is read once an invocation. Statistics and sums: 64 invocations each;
// apply and gradient: in y enough workgroups of 64 for the channel's elements, or fewer that take turns.

struct Params { batch: u32, channels: u32, epsilon: f32, momentum: f32 }
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;

// statistics
@group(0) @binding(2) var<storage, read_write> new_mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> new_rstd: array<f32>;
@group(0) @binding(4) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(5) var<storage, read_write> running_variance: array<f32>;
// frozen: rstd from a running variance (binding 1 is the variance)
@group(0) @binding(2) var<storage, read_write> frozen_rstd: array<f32>;
// apply
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> gamma: array<f32>;
@group(0) @binding(5) var<storage, read> beta: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
// sums and gradient
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dgamma: array<f32>;
@group(0) @binding(6) var<storage, read_write> dbeta: array<f32>;
@group(0) @binding(5) var<storage, read> weight: array<f32>;
@group(0) @binding(6) var<storage, read> sum_dy_xhat: array<f32>;
@group(0) @binding(7) var<storage, read> sum_dy: array<f32>;
@group(0) @binding(8) var<storage, read_write> dx: array<f32>;

alias Part = vec2<f32>;

// The sum of what all lanes give.
fn total(lane: u32, part: Part) -> Part {
    // Nobody reads the parts of the sum before any more.
    workgroupBarrier();
    parts[lane] = part;
    return added(lane);
}

// Where the j-th of a channel's elements lies.
fn place(channel: u32, j: u32) -> u32 {
    return ((j / INNER) * p.channels + channel) * INNER + j % INNER;
}

@compute @workgroup_size(64)
fn statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    p = given;
    let c = group.x;
    let count = p.batch * INNER;
    var sum = 0.0;
    for (var first = lane; first < count; first += 64u * TURNS) {
        for (var t = 0u; t < TURNS; t++) { // unroll
            let j = first + 64u * t;
            sum += select(0.0, x[place(c, min(j, count - 1u))], j < count);
        }
    }
    let centre = total(lane, vec2<f32>(sum, 0.0)).x / f32(count);
    var squares = 0.0;
    for (var first = lane; first < count; first += 64u * TURNS) {
        for (var t = 0u; t < TURNS; t++) { // unroll
            let j = first + 64u * t;
            let difference = select(0.0, x[place(c, min(j, count - 1u))] - centre, j < count);
            squares += difference * difference;
        }
    }
    let variance = total(lane, vec2<f32>(squares, 0.0)).x / f32(count);
    if lane == 0u {
        new_mean[c] = centre;
        new_rstd[c] = 1.0 / sqrt(variance + p.epsilon);
        let unbiased = variance * f32(count) / f32(max(count, 2u) - 1u);
        running_mean[c] += p.momentum * (centre - running_mean[c]);
        running_variance[c] += p.momentum * (unbiased - running_variance[c]);
    }
}

@compute @workgroup_size(64)
fn frozen(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    p = given;
    let c = group.x * 64u + lane;
    if c < p.channels { frozen_rstd[c] = 1.0 / sqrt(x[c] + p.epsilon); }
}

@compute @workgroup_size(64)
fn apply(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    p = given;
    let c = group.x;
    let centre = mean[c];
    let scale = rstd[c];
    let factor = gamma[c];
    let offset = beta[c];
    for (var j = group.y * 64u + lane; j < p.batch * INNER; j += groups.y * 64u) {
        let i = place(c, j);
        y[i] = (x[i] - centre) * scale * factor + offset;
    }
}

@compute @workgroup_size(64)
fn sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    p = given;
    let c = group.x;
    let centre = mean[c];
    let scale = rstd[c];
    var both = vec2<f32>(0.0);
    let count = p.batch * INNER;
    for (var first = lane; first < count; first += 64u * TURNS) {
        for (var t = 0u; t < TURNS; t++) { // unroll
            let j = first + 64u * t;
            let i = place(c, min(j, count - 1u));
            let upstream = dy[i];
            both += select(vec2<f32>(), vec2<f32>(upstream * (x[i] - centre) * scale, upstream), j < count);
        }
    }
    let sum = total(lane, both);
    if lane == 0u {
        dgamma[c] = sum.x;
        dbeta[c] = sum.y;
    }
}

@compute @workgroup_size(64)
fn gradient(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    p = given;
    let c = group.x;
    let scale = rstd[c];
    let factor = weight[c] * scale;
    var centre = 0.0;
    var along_x = 0.0;
    var along_one = 0.0;
    if TRAINING == 1u {
        centre = mean[c];
        along_x = sum_dy_xhat[c];
        along_one = sum_dy[c];
    }
    let count = p.batch * INNER;
    for (var j = group.y * 64u + lane; j < count; j += groups.y * 64u) {
        let i = place(c, j);
        var value = dy[i];
        if TRAINING == 1u {
            let xhat = (x[i] - centre) * scale;
            value -= (along_one + xhat * along_x) / f32(count);
        }
        dx[i] = factor * value;
    }
}
