// matmul_shared: C[m, n] = sum over k of A[m, k] B[k, n] (+ bias[n]) (then ReLU), matmul_tiled.wgsl and
// matmul_blocked.wgsl in one: tiles in workgroup memory, and of each tile a block in registers.
// A workgroup of X x Y invocations has 4 Y ROWS x 4 X COLUMNS elements of C. For every DEPTH values of k it fetches a
// tile of A and one of B together; then each invocation multiplies its 4 ROWS values of A with its 4 COLUMNS of B.
// Both tiles hold vec4s, A's turned over, so that for each k an invocation reads ROWS + COLUMNS vectors for
// 16 ROWS COLUMNS products.
//
//                  n  x . . . x . . . x . . . x . . .      Four neighbours of a vector lie X (or Y) apart: column
//            m   +--------------------------------+         x of vector v is n = 4 X (v / X) + v % X + X j. So
//            y   |o       o       o       o       |         neighbouring lanes read and write neighbouring values,
//            .   |                                |         one at a time, whatever the alignment. Written whole,
//            y   |o       o       o       o       |         since two invocations must not write parts of one vector.
//            .   |                                |
//                +--------------------------------+         o: the block of invocation (x, y), ROWS = COLUMNS = 1
//
// Works for every shape: A and B are read through strides, lanes running along what is contiguous (FLIP_A, FLIP_B: the
// operand lies transposed). Past the last k both tiles hold zero; rows and columns past the edge repeat the last one.
// A line of a tile is one vector longer than it need be, so that lanes that run along k write to different banks.
//
// X, Y, ROWS, COLUMNS, DEPTH: tile; FETCH_A, FETCH_B: vectors of a tile to an invocation; BIAS, RELU: 0 or 1.
// Grid: x = ceil(n / (4 X COLUMNS)), y = ceil(m / (4 Y ROWS)), z = products, if there are several of one shape.

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

const A_WIDTH: u32 = Y * ROWS;
const B_WIDTH: u32 = X * COLUMNS;
var<workgroup> a_tile: array<vec4<f32>, DEPTH * (A_WIDTH + 1u)>;
var<workgroup> b_tile: array<vec4<f32>, DEPTH * (B_WIDTH + 1u)>;

// The k and the vector of a tile that fetch i brings.
fn slot(i: u32, width: u32, along_k: bool) -> vec2<u32> {
    if along_k { return vec2<u32>(i % DEPTH, i / DEPTH); }
    return vec2<u32>(i / width, i % width);
}

@compute @workgroup_size(X, Y)
fn matmul_shared(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) place: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * 4u * A_WIDTH;
    let column0 = group.x * 4u * B_WIDTH;
    let a0 = group.z * p.a_step;
    let b0 = group.z * p.b_step;

    var sum: array<vec4<f32>, 4u * ROWS * COLUMNS>;
    for (var k0 = 0u; k0 < p.k; k0 += DEPTH) {
        for (var f = 0u; f < FETCH_A; f++) { // unroll
            let i = f * X * Y + lane;
            if i < DEPTH * A_WIDTH {
                let s = slot(i, A_WIDTH, FLIP_A == 0u);
                let first = row0 + s.y / Y * 4u * Y + s.y % Y;
                var value = vec4<f32>();
                if k0 + s.x < p.k {
                    for (var j = 0u; j < 4u; j++) { // unroll
                        value[j] = a[a0 + min(first + Y * j, p.m - 1u) * p.a_row + (k0 + s.x) * p.a_column];
                    }
                }
                a_tile[s.x * (A_WIDTH + 1u) + s.y] = value;
            }
        }
        for (var f = 0u; f < FETCH_B; f++) { // unroll
            let i = f * X * Y + lane;
            if i < DEPTH * B_WIDTH {
                let s = slot(i, B_WIDTH, FLIP_B == 1u);
                let first = column0 + s.y / X * 4u * X + s.y % X;
                var value = vec4<f32>();
                if k0 + s.x < p.k {
                    for (var j = 0u; j < 4u; j++) { // unroll
                        value[j] = b[b0 + (k0 + s.x) * p.b_row + min(first + X * j, p.n - 1u) * p.b_column];
                    }
                }
                b_tile[s.x * (B_WIDTH + 1u) + s.y] = value;
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) { // unroll
            var line: array<vec4<f32>, COLUMNS>;
            for (var v = 0u; v < COLUMNS; v++) { // unroll
                line[v] = b_tile[k * (B_WIDTH + 1u) + v * X + place.x];
            }
            for (var r = 0u; r < ROWS; r++) { // unroll
                let factor = a_tile[k * (A_WIDTH + 1u) + r * Y + place.y];
                for (var j = 0u; j < 4u; j++) { // unroll
                    for (var v = 0u; v < COLUMNS; v++) { // unroll
                        sum[(4u * r + j) * COLUMNS + v] += factor[j] * line[v];
                    }
                }
            }
        }
        workgroupBarrier();
    }

    for (var r = 0u; r < ROWS; r++) { // unroll
        for (var j = 0u; j < 4u; j++) { // unroll
            let row = row0 + r * 4u * Y + place.y + Y * j;
            for (var v = 0u; v < COLUMNS; v++) { // unroll
                for (var i = 0u; i < 4u; i++) { // unroll
                    let column = column0 + v * 4u * X + place.x + X * i;
                    if (row < p.m) & (column < p.n) {
                        var value = sum[(4u * r + j) * COLUMNS + v][i];
                        if BIAS == 1u { value += bias[column]; }
                        if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                        c[group.z * p.c_step + row * p.c_row + column] = value;
                    }
                }
            }
        }
    }
}
