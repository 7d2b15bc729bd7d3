// matmul_nt: C[m, n] = sum over k of A[m, k] B[n, k] (+ bias[n]) (then ReLU), k a multiple of 4: a linear
// layer's forward pass, y = x W^T + b, on PyTorch's weight layout [out, in].
// A is read through strides, so it may be transposed.
//
// One invocation: ROWS x 1 of C. Each lane owns one row of B and reads it as vec4; A's address is the
// same for the whole workgroup.
// ROWS, LANES: tile; BIAS, RELU: 0 or 1.
// Grid: x = ceil(n / LANES), y = ceil(m / ROWS).

struct Params { m: u32, n: u32, k: u32, a_row: u32, a_column: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(LANES)
fn matmul_nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = p.k / 4u;
    let row0 = group.y * ROWS;
    let column = min(group.x * LANES + lane, p.n - 1u);
    var start: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) { start[r] = min(row0 + r, p.m - 1u) * p.a_row; }

    // Four partial sums a row, one for each component, added once at the end.
    var sum: array<vec4<f32>, ROWS>;
    for (var k = 0u; k < width; k++) {
        let line = b[column * width + k];
        let k0 = 4u * k * p.a_column;
        for (var r = 0u; r < ROWS; r++) {
            let at = start[r] + k0;
            let factor = vec4<f32>(a[at], a[at + p.a_column], a[at + 2u * p.a_column], a[at + 3u * p.a_column]);
            sum[r] += factor * line;
        }
    }
    if group.x * LANES + lane >= p.n { return; }
    for (var r = 0u; r < ROWS; r++) {
        if row0 + r < p.m {
            var value = (sum[r].x + sum[r].y) + (sum[r].z + sum[r].w);
            if BIAS == 1u { value += bias[column]; }
            if RELU == 1u { value = max(value, 0.0); }
            c[(row0 + r) * p.n + column] = value;
        }
    }
}
