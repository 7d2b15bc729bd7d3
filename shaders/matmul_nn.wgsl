// matmul_nn: C[m, n] = sum over k of A[m, k] B[k, n] (+ bias[n]) (then ReLU), B row-major, n a multiple of 4.
// A is read through strides, so it may be transposed.
//
// One invocation: ROWS x (COLUMNS vec4) of C in registers. The address of A is the same for the whole
// workgroup (a broadcast on GPUs; llvmpipe reads it lane by lane all the same); lanes run along the contiguous n.
// No workgroup memory, no barrier: on llvmpipe both cost more than they save.
// ROWS, COLUMNS, LANES: tile; REST = (ROWS - 1) COLUMNS; BIAS, RELU: 0 or 1.
// Grid: x = ceil(n / (4 LANES COLUMNS)), y = ceil(m / ROWS), z = products, if there are several of one shape.

struct Params { m: u32, n: u32, k: u32, a_row: u32, a_column: u32, rows: u32,
                b_row: u32, c_row: u32, a_step: u32, b_step: u32, c_step: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn matmul_nn(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = p.n / 4u;
    let row0 = group.y * ROWS;
    let column0 = group.x * LANES * COLUMNS + lane;
    // Rows and columns past the edge repeat the last one; only their store is left out.
    var start: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) { // unroll
        start[r] = group.z * p.a_step + min(row0 + r, p.m - 1u) * p.a_row;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) { // unroll
        column[j] = min(column0 + j * LANES, width - 1u);
    }

    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    for (var k = 0u; k < p.k; k++) {
        var line: array<vec4<f32>, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            line[j] = b[group.z * p.b_step + k * p.b_row + column[j]];
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            let factor = a[start[r] + k * p.a_column];
            for (var j = 0u; j < COLUMNS; j++) { // unroll
                sum[r * COLUMNS + j] += factor * line[j];
            }
        }
    }
    // Rows take turns at one row of stores, as channels do in conv2d_subgroup.wgsl. p.rows is ROWS.
    var constant: array<vec4<f32>, COLUMNS>;
    if BIAS == 1u {
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            constant[j] = bias[column[j]];
        }
    }
    let rows = min(p.m - row0, p.rows);
    for (var row = row0; row < row0 + rows; row++) {
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            if column0 + j * LANES < width {
                var value = sum[j];
                if BIAS == 1u { value += constant[j]; }
                if RELU == 1u { value = select(value, vec4<f32>(0.0), value < vec4<f32>(0.0)); }
                c[group.z * p.c_step + row * p.c_row + column[j]] = value;
            }
        }
        for (var i = 0u; i < REST; i++) { // unroll
            sum[i] = sum[i + COLUMNS];
        }
    }
}
