// matmul_nt: C[m, n] = sum over k of A[m, k] B[n, k] (+ bias[n]) (then ReLU), k a multiple of 4: a linear
// layer's forward pass, y = x W^T + b, on PyTorch's weight layout [out, in].
// A is read through strides, so it may be transposed.
//
// One invocation: ROWS x COLUMNS of C. A lane owns COLUMNS rows of B and reads them as vec4; A's address
// is the same for the whole workgroup, and each of its values serves all COLUMNS.
// ROWS, COLUMNS, LANES: tile; REST = (ROWS - 1) COLUMNS; BIAS, RELU: 0 or 1.
// Grid: x = ceil(n / (LANES COLUMNS)), y = ceil(m / ROWS).

struct Params { m: u32, n: u32, k: u32, a_row: u32, a_column: u32, rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(LANES)
fn matmul_nt(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = p.k / 4u;
    let row0 = group.y * ROWS;
    let column0 = group.x * LANES * COLUMNS + lane;
    // Rows and columns past the edge repeat the last one; only their store is left out.
    var start: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) { // unroll
        start[r] = min(row0 + r, p.m - 1u) * p.a_row;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) { // unroll
        column[j] = min(column0 + j * LANES, p.n - 1u);
    }

    // Four partial sums an element, one for each component, added once at the end.
    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    for (var k = 0u; k < width; k++) {
        var line: array<vec4<f32>, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            line[j] = b[column[j] * width + k];
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            let at = start[r] + 4u * k * p.a_column;
            let factor = vec4<f32>(a[at], a[at + p.a_column], a[at + 2u * p.a_column], a[at + 3u * p.a_column]);
            for (var j = 0u; j < COLUMNS; j++) { // unroll
                sum[r * COLUMNS + j] += factor * line[j];
            }
        }
    }
    // Rows take turns at one row of stores, as channels do in conv2d_subgroup.wgsl. p.rows is ROWS.
    var constant: array<f32, COLUMNS>;
    if BIAS == 1u {
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            constant[j] = bias[column[j]];
        }
    }
    let rows = min(p.m - row0, p.rows);
    for (var row = row0; row < row0 + rows; row++) {
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            if column0 + j * LANES < p.n {
                let parts = sum[j];
                var value = (parts.x + parts.y) + (parts.z + parts.w);
                if BIAS == 1u { value += constant[j]; }
                if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                c[row * p.n + column[j]] = value;
            }
        }
        for (var i = 0u; i < REST; i++) { // unroll
            sum[i] = sum[i + COLUMNS];
        }
    }
}
