// matmul, first rung: C[m, n] = sum over k of A[m, k] B[k, n] (+ bias[n]) (then ReLU).
// One invocation, one element of C; A and B are read through strides, so either may be transposed.
// Works for every shape; matmul_nn and matmul_nt are the fast ones.
// BIAS, RELU: 0 or 1. Grid: linear over m n, 64 invocations a workgroup; z = products, if there are several of one shape.

struct Params {
    m: u32, n: u32, k: u32,
    a_row: u32, a_column: u32,      // A[m, k] = a[m a_row + k a_column]
    b_row: u32, b_column: u32,      // B[k, n] = b[k b_row + n b_column]
    // From row to row of C, and from one product to the next.
    c_row: u32, a_step: u32, b_step: u32, c_step: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(64)
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.m * p.n { return; }
    let row = i / p.n;
    let column = i % p.n;
    let a0 = group.z * p.a_step;
    let b0 = group.z * p.b_step;
    var sum = 0.0;
    for (var k = 0u; k < p.k; k++) {
        sum += a[a0 + row * p.a_row + k * p.a_column] * b[b0 + k * p.b_row + column * p.b_column];
    }
    if BIAS == 1u { sum += bias[column]; }
    if RELU == 1u { sum = select(sum, 0.0, sum < 0.0); }
    c[group.z * p.c_step + row * p.c_row + column] = sum;
}
