// matmul_nt_subgroup: C[m, n] = sum over k of A[m, k] B[n, k] (+ bias[n]) (then ReLU), A held by the lanes of one subgroup.
// matmul_nt.wgsl with one difference: there all lanes read the same 4 ROWS values of A for four values of k, here each
// lane reads HELD of them, and broadcasts, which are register moves, hand them round (see matmul_subgroup.wgsl).
//
// k is a multiple of 4; A is read through strides, so it may be transposed.
// A workgroup is one subgroup: LANES is the adapter's subgroup size. One invocation: ROWS x COLUMNS of C.
// ROWS, COLUMNS, LANES: tile; HELD = ceil(4 ROWS / LANES); REST = (ROWS - 1) COLUMNS; BIAS, RELU: 0 or 1.
// Grid: x = ceil(n / (LANES COLUMNS)), y = ceil(m / ROWS).

struct Params { m: u32, n: u32, k: u32, a_row: u32, a_column: u32, rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<Stored4>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(LANES)
fn matmul_nt_subgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = p.k / 4u;
    let row0 = group.y * ROWS;
    let column0 = group.x * LANES * COLUMNS + lane;
    // Where this lane's values of A begin. Rows and columns past the edge repeat the last one; only their store is
    // left out. What is read next goes from turn to turn, as in matmul_subgroup.wgsl.
    var at: array<u32, HELD>;
    for (var v = 0u; v < HELD; v++) { // unroll
        let t = v * LANES + lane;
        at[v] = min(row0 + t / 4u, p.m - 1u) * p.a_row + (t % 4u) * p.a_column;
    }
    var column: array<u32, COLUMNS>;
    var next: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) { // unroll
        column[j] = min(column0 + j * LANES, p.n - 1u);
        next[j] = column[j] * width;
    }

    // Four partial sums an element, one for each component, added once at the end.
    var sum: array<vec4<f32>, ROWS * COLUMNS>;
    for (var k = 0u; k < width; k++) {
        var held: array<f32, HELD>;
        for (var v = 0u; v < HELD; v++) { // unroll
            held[v] = a[at[v]];
            at[v] += 4u * p.a_column;
        }
        var line: array<vec4<f32>, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) { // unroll
            line[j] = four(b[next[j]]);
            next[j] += 1u;
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            let factor = vec4<f32>(
                subgroupBroadcast(held[4u * r / LANES], 4u * r % LANES),
                subgroupBroadcast(held[(4u * r + 1u) / LANES], (4u * r + 1u) % LANES),
                subgroupBroadcast(held[(4u * r + 2u) / LANES], (4u * r + 2u) % LANES),
                subgroupBroadcast(held[(4u * r + 3u) / LANES], (4u * r + 3u) % LANES),
            );
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
