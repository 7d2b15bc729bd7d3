// kl_divergence: k[n] = sum over c of p_c (log p_c - log q_c), with p = softmax(a) and q = softmax(b) for logits a[n, 0..C]
// and b[n, 0..C]: what it costs to take q for p (Kullback and Leibler 1951; TRADES: Zhang et al. 2019).
// Backward, with g = dk[n]: da_c = p_c (log p_c - log q_c - k[n]) g and db_c = (q_c - p_c) g.
//
// TRADES's attack begins where the rows are nearly the same, and needs the sign of q - p there. Differences of two
// exponentials would be rounding (5 % of such a step on llvmpipe), so near rows go by e = b - a, which is exact:
//   r_c = log q_c - log p_c = e_c - log1p(sum p expm1(e)),  q_c - p_c = p_c expm1(r_c),  k = sum p (expm1(r) - r) >= 0,
// the last because sum p expm1(r) = 0.
// Grid: linear over the rows, 64 invocations a workgroup; one invocation a row.

struct Params { rows: u32, classes: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> divergence: array<f32>;

@group(0) @binding(3) var<storage, read> ddivergence: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;

// The largest differences, but for one that all of a row share, for which the series below serve.
const NEAR = 0.25;

// expm1(x) - x, for small x.
fn excess(x: f32) -> f32 {
    return 0.5 * x * x * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0)))));
}

// log(1 + y) as 2 artanh(y / (2 + y)), for small y.
fn log1p(y: f32) -> f32 {
    let s = y / (2.0 + y);
    let s2 = s * s;
    return 2.0 * s * (1.0 + s2 * (1.0 / 3.0 + s2 * (0.2 + s2 * (1.0 / 7.0 + s2 / 9.0))));
}

// Of one row: the largest of a and the logarithm of the sum of exp(a - top), and the same of b. Two numbers, because
// their sum would round the second away where the first is large. e_0, and log1p(sum p expm1(e - e_0)).
struct Row { top_a: f32, rest_a: f32, top_b: f32, rest_b: f32, shift: f32, lift: f32, near: bool }

fn row_of(start: u32) -> Row {
    var row = Row(a[start], 0.0, b[start], 0.0, b[start] - a[start], 0.0, true);
    for (var c = 1u; c < p.classes; c++) {
        row.top_a = max(row.top_a, a[start + c]);
        row.top_b = max(row.top_b, b[start + c]);
        row.near = row.near & (abs(b[start + c] - a[start + c] - row.shift) <= NEAR);
    }
    var sums = vec2<f32>(0.0);
    for (var c = 0u; c < p.classes; c++) {
        sums += exp(vec2<f32>(a[start + c] - row.top_a, b[start + c] - row.top_b));
    }
    row.rest_a = log(sums.x);
    row.rest_b = log(sums.y);
    if row.near {
        var lift = 0.0;
        for (var c = 0u; c < p.classes; c++) {
            let e = b[start + c] - a[start + c] - row.shift;
            lift += first_share(row, start + c) * (e + excess(e));
        }
        row.lift = log1p(lift);
    }
    return row;
}

// log p_c and p_c.
fn first_log(row: Row, at: u32) -> f32 { return (a[at] - row.top_a) - row.rest_a; }
fn first_share(row: Row, at: u32) -> f32 { return exp(first_log(row, at)); }
fn second_log(row: Row, at: u32) -> f32 { return (b[at] - row.top_b) - row.rest_b; }

// r_c.
fn ratio(row: Row, at: u32) -> f32 {
    if row.near { return b[at] - a[at] - row.shift - row.lift; }
    return second_log(row, at) - first_log(row, at);
}

fn divergence_of(row: Row, start: u32) -> f32 {
    var sum = 0.0;
    for (var c = 0u; c < p.classes; c++) {
        let r = ratio(row, start + c);
        var term = -r;
        if row.near { term = excess(r); }
        sum += first_share(row, start + c) * term;
    }
    return sum;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * 64u + lane;
    if n >= p.rows { return; }
    let start = n * p.classes;
    divergence[n] = divergence_of(row_of(start), start);
}

@compute @workgroup_size(64)
fn backward_first(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * 64u + lane;
    if n >= p.rows { return; }
    let start = n * p.classes;
    let row = row_of(start);
    let k = divergence_of(row, start);
    for (var c = 0u; c < p.classes; c++) {
        dlogits[start + c] = first_share(row, start + c) * (-ratio(row, start + c) - k) * ddivergence[n];
    }
}

@compute @workgroup_size(64)
fn backward_second(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                   @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * 64u + lane;
    if n >= p.rows { return; }
    let start = n * p.classes;
    let row = row_of(start);
    for (var c = 0u; c < p.classes; c++) {
        let r = ratio(row, start + c);
        var difference = exp(second_log(row, start + c)) - first_share(row, start + c);
        if row.near { difference = first_share(row, start + c) * (r + excess(r)); }
        dlogits[start + c] = difference * ddivergence[n];
    }
}
