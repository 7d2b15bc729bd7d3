// matmul_blocked, third rung: C[m, n] = sum over k of A[m, k] B[k, n] (+ bias[n]) (then ReLU), a block in registers.
// One invocation, ROWS x COLUMNS elements of C: for each k it reads ROWS values of A and COLUMNS of B and multiplies
// each with each, so that a read serves COLUMNS or ROWS products instead of one. No workgroup memory, no barrier.
//
//                 lane 0 1 2 ..., again 0 1 2 ...          Lanes are neighbours along n and a lane's columns lie LANES
//                +---------------------------+             apart, so that neighbouring lanes read neighbouring values
//     ROWS of A  | o . . .   o . . .   o . . |             of B. A's address is the same for all lanes.
//                | o . . .   o . . .   o . . |
//                +---------------------------+             o: the block of lane 0
//
// Works for every shape: A and B are read through strides.
// ROWS, COLUMNS, LANES: tile; BIAS, RELU: 0 or 1. Grid: x = ceil(n / (LANES COLUMNS)), y = ceil(m / ROWS).

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

@compute @workgroup_size(LANES)
fn matmul_blocked(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
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

    var sum: array<f32, ROWS * COLUMNS>;
    for (var k = 0u; k < p.k; k++) {
        var line: array<f32, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            line[j] = b[k * p.b_row + column[j] * p.b_column];
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
            if (row0 + r < p.m) & (column0 + j * LANES < p.n) {
                var value = sum[r * COLUMNS + j];
                if BIAS == 1u { value += bias[column[j]]; }
                if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                c[(row0 + r) * p.n + column[j]] = value;
            }
        }
    }
}
