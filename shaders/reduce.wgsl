// reduce: y[o, i] = sum, mean, max, log-sum-exp, sum of |x| or of x^2 over r of x[o, r, i], in the order of r.
// OP: 0 sum, 1 mean, 2 max, 3 log-sum-exp (max first, so that exp cannot overflow), 4 sum of |x|, 5 sum of x^2.
// Backward: dx = dy, dy / R, dy for the first maximum, dy softmax(x), dy sign(x), 2 x dy. The softmax is made from x alone: in
// exp(x - y) the digits that y lost beside a large maximum would be missing.
// forward_lines: OP 0, 1, 4 or 5 where inner is 1 and the length a multiple of four. It reads by fours, for little more than
// half the cost on a software adapter, and adds in the same order.
// Grid: linear over outer x inner, 64 invocations a workgroup; each runs over all r.

struct Params { outer: u32, length: u32, inner: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@group(0) @binding(1) var<storage, read> fours: array<vec4<f32>>;

@group(0) @binding(2) var<storage, read> result: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

// What a sum adds up.
fn term(value: f32) -> f32 {
    if OP == 4u { return abs(value); }
    if OP == 5u { return value * value; }
    return value;
}

fn maximum(start: u32) -> f32 {
    var top = x[start];
    for (var r = 1u; r < p.length; r++) { top = max(top, x[start + r * p.inner]); }
    return top;
}

fn sum_of_exp(start: u32, top: f32) -> f32 {
    var sum = 0.0;
    for (var r = 0u; r < p.length; r++) { sum += exp(x[start + r * p.inner] - top); }
    return sum;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.outer * p.inner { return; }
    let start = (i / p.inner) * p.length * p.inner + i % p.inner;
    var value = 0.0;
    if (OP == 2u) | (OP == 3u) { value = maximum(start); }
    if OP == 3u { value += log(sum_of_exp(start, value)); }
    if (OP <= 1u) | (OP >= 4u) {
        for (var r = 0u; r < p.length; r++) { value += term(x[start + r * p.inner]); }
        if OP == 1u { value = value / f32(p.length); }
    }
    y[i] = value;
}

@compute @workgroup_size(64)
fn forward_lines(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.outer { return; }
    var value = 0.0;
    var at = i * (p.length / 4u);
    for (var r = 0u; r < p.length; r += 4u) {
        let four = fours[at];
        value += term(four.x);
        value += term(four.y);
        value += term(four.z);
        value += term(four.w);
        at += 1u;
    }
    if OP == 1u { value = value / f32(p.length); }
    y[i] = value;
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.outer * p.inner { return; }
    let start = (i / p.inner) * p.length * p.inner + i % p.inner;
    var given = false;
    var top = 0.0;
    var sum = 0.0;
    if OP == 3u {
        top = maximum(start);
        sum = sum_of_exp(start, top);
    }
    for (var r = 0u; r < p.length; r++) {
        let at = start + r * p.inner;
        var value = dy[i];
        if OP == 1u { value = value / f32(p.length); }
        if OP == 2u {
            let first = !given & (x[at] == result[i]);
            given = given | first;
            value = select(0.0, value, first);
        }
        if OP == 3u { value *= exp(x[at] - top) / sum; }
        if OP == 4u { value *= sign(x[at]); }
        if OP == 5u { value *= 2.0 * x[at]; }
        dx[at] = value;
    }
}
