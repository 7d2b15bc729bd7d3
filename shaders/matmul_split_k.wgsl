// matmul_split_k: C[m, n] = sum over k of A[m, k] B[k, n] (+ bias[n]) (then ReLU), k shared out among workgroups.
//
//     partial[s][m][n] = sum over k of split s of A[m, k] B[k, n]            split_k, one layer of the grid a split
//     C[m, n] = partial[0][m][n] + partial[1][m][n] + ... (+ bias) (ReLU)    finish, always in this order
//
// For products whose C is small and whose k is long: C alone has too few blocks to fill the device. No float atomics:
// the order of the sum, and so the result's bits, are the same in every run. The blocks are those of matmul_nn.wgsl;
// B is row-major and n a multiple of 4; A is read through strides.
//
// ROWS, COLUMNS, LANES: tile; BIAS, RELU: 0 or 1; `chunk` values of k to a split.
// Grid: split_k: x = ceil(n / (4 LANES COLUMNS)), y = ceil(m / ROWS), z = splits.
//       finish: linear over m n / 4, 64 invocations a workgroup.

struct Params { m: u32, n: u32, k: u32, a_row: u32, a_column: u32, chunk: u32, splits: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn split_k(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = p.n / 4u;
    let row0 = group.y * ROWS;
    let column0 = group.x * LANES * COLUMNS + lane;
    // Rows and columns past the edge repeat the last one; only their store is left out.
    var start: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) { // unroll
        start[r] = min(row0 + r, p.m - 1u) * p.a_row;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) { // unroll
        column[j] = min(column0 + j * LANES, width - 1u);
    }

    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    let last = min((group.z + 1u) * p.chunk, p.k);
    for (var k = group.z * p.chunk; k < last; k++) {
        var line: array<vec4<f32>, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            line[j] = b[k * width + column[j]];
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            let factor = a[start[r] + k * p.a_column];
            for (var j = 0u; j < COLUMNS; j++) { // unroll
                sum[r * COLUMNS + j] += factor * line[j];
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) { // unroll
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            if (row0 + r < p.m) & (column0 + j * LANES < width) {
                partial[(group.z * p.m + row0 + r) * width + column[j]] = sum[r * COLUMNS + j];
            }
        }
    }
}

@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;

@compute @workgroup_size(64)
fn finish(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let width = p.n / 4u;
    let count = p.m * width;
    if i >= count { return; }
    var value = parts[i];
    for (var s = 1u; s < p.splits; s++) {
        value += parts[s * count + i];
    }
    if BIAS == 1u { value += bias[i % width]; }
    if RELU == 1u { value = select(value, vec4<f32>(0.0), value < vec4<f32>(0.0)); }
    c[i] = value;
}
