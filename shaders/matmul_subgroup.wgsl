// matmul_subgroup: C[m, n] = sum over k of A[m, k] B[k, n] (+ bias[n]) (then ReLU), A held by the lanes of one subgroup.
// matmul_nn.wgsl with one difference: there all lanes read the same ROWS values of A for each k, here each lane reads
// HELD of them, and broadcasts, which are register moves, hand them round. A turn has STEPS values of k, and takes each
// sum up once for all of them:
//
//     lane          0    1    2  ...  ROWS-1 | ROWS ...
//     holds A    [0,k] [1,k] [2,k]           | [0,k+1] ...
//
// B is row-major and n a multiple of 4; A is read through strides, so it may be transposed.
// A workgroup is one subgroup: LANES is the adapter's subgroup size. One invocation: ROWS x (COLUMNS vec4) of C.
// ROWS, COLUMNS, STEPS, LANES: tile; HELD = ceil(ROWS STEPS / LANES); LINES = COLUMNS STEPS; RAGGED: 1 where k is no multiple
// of STEPS; TURN: rows stored at a time, a divisor of ROWS; REST = (ROWS - TURN) COLUMNS; BIAS, RELU: 0 or 1.
// Grid: x = ceil(n / (4 LANES COLUMNS)), y = ceil(m / ROWS), z = products, if there are several of one shape.

struct Params { m: u32, n: u32, k: u32, a_row: u32, a_column: u32, rows: u32,
                b_row: u32, c_row: u32, a_step: u32, b_step: u32, c_step: u32 }
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<Stored4>;
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn matmul_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    p = given;
    let width = p.n / 4u;
    let row0 = group.y * ROWS;
    let column0 = group.x * LANES * COLUMNS + lane;
    // Where this lane's values of A begin: lane t has row t % ROWS at k t / ROWS. Rows and columns past the edge repeat the
    // last one; only their store is left out. What is read next goes from turn to turn: a sum made anew for each read would
    // be made lane by lane.
    var at: array<u32, HELD>;
    var own: array<u32, HELD>;
    for (var v = 0u; v < HELD; v++) { // unroll
        let t = v * LANES + lane;
        own[v] = t / ROWS;
        at[v] = group.z * p.a_step + min(row0 + t % ROWS, p.m - 1u) * p.a_row + own[v] * p.a_column;
    }
    var column: array<u32, COLUMNS>;
    var next: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) { // unroll
        column[j] = min(column0 + j * LANES, width - 1u);
        next[j] = group.z * p.b_step + column[j];
    }

    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    for (var k0 = 0u; k0 < p.k; k0 += STEPS) {
        // What lies past the last k is read, too, and counts as zero, in A and in B, since zero times infinity is not zero.
        var held: array<f32, HELD>;
        for (var v = 0u; v < HELD; v++) { // unroll
            held[v] = a[at[v]];
            if RAGGED == 1u { held[v] = select(0.0, held[v], k0 + own[v] < p.k); }
            at[v] += STEPS * p.a_column;
        }
        var line: array<vec4<f32>, LINES>;
        for (var s = 0u; s < STEPS; s++) { // unroll
            for (var j = 0u; j < COLUMNS; j++) { // unroll
                var value = four(b[next[j]]);
                if RAGGED == 1u { value = select(vec4<f32>(0.0), value, k0 + s < p.k); }
                line[s * COLUMNS + j] = value;
                next[j] += p.b_row;
            }
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            var factor: array<f32, STEPS>;
            for (var s = 0u; s < STEPS; s++) { // unroll
                factor[s] = subgroupBroadcast(held[(s * ROWS + r) / LANES], (s * ROWS + r) % LANES);
            }
            for (var j = 0u; j < COLUMNS; j++) { // unroll
                for (var s = 0u; s < STEPS; s++) { // unroll
                    sum[r * COLUMNS + j] += factor[s] * line[s * COLUMNS + j];
                }
            }
        }
    }
    // Rows take turns at TURN rows of stores, as channels do in conv2d_subgroup.wgsl. p.rows is ROWS.
    var constant: array<vec4<f32>, COLUMNS>;
    if BIAS == 1u {
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            constant[j] = bias[column[j]];
        }
    }
    let rows = min(p.m - row0, p.rows);
    for (var row = row0; row < row0 + rows; row += TURN) {
        for (var r = 0u; r < TURN; r++) { // unroll
            for (var j = 0u; j < COLUMNS; j++) { // unroll
                if (column0 + j * LANES < width) & (row + r < p.m) {
                    var value = sum[r * COLUMNS + j];
                    if BIAS == 1u { value += constant[j]; }
                    if RELU == 1u { value = select(value, vec4<f32>(0.0), value < vec4<f32>(0.0)); }
                    c[group.z * p.c_step + (row + r) * p.c_row + column[j]] = value;
                }
            }
        }
        for (var i = 0u; i < REST; i++) { // unroll
            sum[i] = sum[i + TURN * COLUMNS];
        }
    }
}
