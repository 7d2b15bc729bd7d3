// batch_norm (Ioffe and Szegedy 2015) over x[n, c, i]: y = (x - mean[c]) rstd[c] gamma[c] + beta[c].
// Training: mean first, then the centred variance (a sum of squares minus the squared mean would cancel),
// both per channel in a fixed tree; running statistics move by `momentum`, the running variance being the
// unbiased one. Backward: one pass for both sums, then
//   dx = gamma rstd (dy - sum(dy) / M - xhat sum(dy xhat) / M)   with M = N I elements a channel (training)
//   dx = gamma rstd dy                                            (evaluation, TRAINING = 0)
// Grid: statistics and sums: x = channels, 64 invocations each; apply and gradient: linear over all elements.

struct Params { batch: u32, channels: u32, inner: u32, epsilon: f32, momentum: f32 }
@group(0) @binding(0) var<uniform> p: Params;
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

var<workgroup> parts: array<vec2<f32>, 64>;

// Adds the lanes' parts in a fixed tree; every lane gets the total.
fn total(lane: u32, part: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    parts[lane] = part;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half { parts[lane] += parts[lane + half]; }
    }
    workgroupBarrier();
    return parts[0];
}

fn place(channel: u32, j: u32) -> u32 {
    return ((j / p.inner) * p.channels + channel) * p.inner + j % p.inner;
}

@compute @workgroup_size(64)
fn statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let c = group.x;
    let count = p.batch * p.inner;
    var sum = 0.0;
    for (var j = lane; j < count; j += 64u) { sum += x[place(c, j)]; }
    let centre = total(lane, vec2<f32>(sum, 0.0)).x / f32(count);
    var squares = 0.0;
    for (var j = lane; j < count; j += 64u) {
        let difference = x[place(c, j)] - centre;
        squares += difference * difference;
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
    let c = group.x * 64u + lane;
    if c < p.channels { frozen_rstd[c] = 1.0 / sqrt(x[c] + p.epsilon); }
}

@compute @workgroup_size(64)
fn apply(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.batch * p.channels * p.inner { return; }
    let c = (i / p.inner) % p.channels;
    y[i] = (x[i] - mean[c]) * rstd[c] * gamma[c] + beta[c];
}

@compute @workgroup_size(64)
fn sums(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let c = group.x;
    var both = vec2<f32>(0.0);
    for (var j = lane; j < p.batch * p.inner; j += 64u) {
        let i = place(c, j);
        both += vec2<f32>(dy[i] * (x[i] - mean[c]) * rstd[c], dy[i]);
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
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.batch * p.channels * p.inner { return; }
    let c = (i / p.inner) % p.channels;
    var value = dy[i];
    if TRAINING == 1u {
        let xhat = (x[i] - mean[c]) * rstd[c];
        value -= (sum_dy[c] + xhat * sum_dy_xhat[c]) / f32(p.batch * p.inner);
    }
    dx[i] = weight[c] * rstd[c] * value;
}
