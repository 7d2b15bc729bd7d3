// matmul_tiled, second rung: C[m, n] = sum over k of A[m, k] B[k, n] (+ bias[n]) (then ReLU), tiles in workgroup memory.
// One invocation, one element of C, as in matmul.wgsl; but the T x T invocations of a workgroup fetch a tile of A and a
// tile of B together, one element each, and all read both from there: every element of A and B is read from memory
// once a tile, not once an element of C, a T-th of the reads.
//
//                k0 ...  n                  Two barriers a tile: nobody may compute before the tile is whole,
//               +---+---+---+               and nobody may fetch the next one before all have computed.
//     m  k0     |   | B |   |
//     +--+--+   +---+---+---+
//     |  |A |   |   | C |   |               Works for every shape: A and B are read through strides, and what lies
//     +--+--+   +---+---+---+               past an edge counts as zero.
//
// T: tile; BIAS, RELU: 0 or 1. Grid: x = ceil(n / T), y = ceil(m / T).

struct Params {
    m: u32, n: u32, k: u32,
    a_row: u32, a_column: u32,      // A[m, k] = a[m a_row + k a_column]
    b_row: u32, b_column: u32,      // B[k, n] = b[k b_row + n b_column]
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

var<workgroup> a_tile: array<f32, T * T>;
var<workgroup> b_tile: array<f32, T * T>;

@compute @workgroup_size(T, T)
fn matmul_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) place: vec3<u32>) {
    let row = group.y * T + place.y;
    let column = group.x * T + place.x;
    let a_start = min(row, p.m - 1u) * p.a_row;
    let b_start = min(column, p.n - 1u) * p.b_column;
    let own = place.y * T + place.x;

    var sum = 0.0;
    for (var k0 = 0u; k0 < p.k; k0 += T) {
        let a_k = k0 + place.x;
        let b_k = k0 + place.y;
        a_tile[own] = select(0.0, a[a_start + min(a_k, p.k - 1u) * p.a_column], a_k < p.k);
        b_tile[own] = select(0.0, b[b_start + min(b_k, p.k - 1u) * p.b_row], b_k < p.k);
        workgroupBarrier();
        for (var k = 0u; k < T; k++) { // unroll
            sum += a_tile[place.y * T + k] * b_tile[k * T + place.x];
        }
        workgroupBarrier();
    }
    if (row >= p.m) | (column >= p.n) { return; }
    if BIAS == 1u { sum += bias[column]; }
    if RELU == 1u { sum = select(sum, 0.0, sum < 0.0); }
    c[row * p.n + column] = sum;
}
