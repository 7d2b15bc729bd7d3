// conv2d_weights_gemm: the weight gradient as one product of matrices whose long inner dimension is split.
//
//   partial[split][m][c][ky][kx] = sum over the positions (n, oy, ox) of the split of
//       dy[n, m, oy, ox] x[n, c, S oy + ky - padding, S ox + kx - padding]
//
//   A = dy   [out channels, (n, oy, ox)]
//   B = x    [(n, oy, ox), (c, ky, kx)]
//
//             |-- split 0 --|-- split 1 --|-- split 2 --|      k = (n, oy, ox): batch out_h out_w long, while C has but
//          m  +-----------------------------------------+      out_c x in_c k k elements. Each split is a layer of the
//             |                    A                    |      grid with a C of its own; reduce.wgsl adds them in the
//             +-----------------------------------------+      order of the splits, always.
//
// Tiles, blocks and vectors are those of matmul_shared.wgsl: X, Y, ROWS, COLUMNS, DEPTH, FETCH_A, FETCH_B. Lanes run
// along positions for both operands, in both of which they are neighbours. X Y is a multiple of DEPTH.
// K, S: convolution. Grid: x = ceil(in_c K K / (4 X COLUMNS)), y = ceil(out_c / (4 Y ROWS)), z = splits.

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    padding: u32, chunk: u32,           // positions a split
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

const A_WIDTH: u32 = Y * ROWS;
const B_WIDTH: u32 = X * COLUMNS;
var<workgroup> a_tile: array<vec4<f32>, DEPTH * (A_WIDTH + 1u)>;
var<workgroup> b_tile: array<vec4<f32>, DEPTH * (B_WIDTH + 1u)>;

@compute @workgroup_size(X, Y)
fn conv2d_weights(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) place: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
    let m0 = group.y * 4u * A_WIDTH;
    let column0 = group.x * 4u * B_WIDTH;
    let columns = p.in_c * K * K;
    let plane = p.out_h * p.out_w;
    let own = lane % DEPTH;

    // The weights (c, ky, kx) that this invocation fetches for: the plane of x, and where the tap lies in it.
    var start: array<u32, 4u * FETCH_B>;
    var ky: array<u32, 4u * FETCH_B>;
    var kx: array<u32, 4u * FETCH_B>;
    for (var f = 0u; f < FETCH_B; f++) { // unroll
        let v = (f * X * Y + lane) / DEPTH;
        for (var j = 0u; j < 4u; j++) { // unroll
            let t = min(column0 + v / X * 4u * X + v % X + X * j, columns - 1u);
            start[4u * f + j] = t / (K * K) * p.in_h * p.in_w;
            ky[4u * f + j] = t / K % K;
            kx[4u * f + j] = t % K;
        }
    }

    var sum: array<vec4<f32>, 4u * ROWS * COLUMNS>;
    let last = min((group.z + 1u) * p.chunk, p.batch * plane);
    for (var k0 = group.z * p.chunk; k0 < last; k0 += DEPTH) {
        let q = min(k0 + own, last - 1u);
        let n = q / plane;
        let iy0 = q % plane / p.out_w * S - p.padding;
        let ix0 = q % p.out_w * S - p.padding;
        for (var f = 0u; f < FETCH_A; f++) { // unroll
            let v = (f * X * Y + lane) / DEPTH;
            if v < A_WIDTH {
                let first = m0 + v / Y * 4u * Y + v % Y;
                var value = vec4<f32>();
                if k0 + own < last {
                    for (var j = 0u; j < 4u; j++) { // unroll
                        value[j] = dy[(n * p.out_c + min(first + Y * j, p.out_c - 1u)) * plane + q % plane];
                    }
                }
                a_tile[own * (A_WIDTH + 1u) + v] = value;
            }
        }
        for (var f = 0u; f < FETCH_B; f++) { // unroll
            let v = (f * X * Y + lane) / DEPTH;
            if v < B_WIDTH {
                var value = vec4<f32>();
                for (var j = 0u; j < 4u; j++) { // unroll
                    // Below zero is far above every extent.
                    let iy = iy0 + ky[4u * f + j];
                    let ix = ix0 + kx[4u * f + j];
                    if (k0 + own < last) & (iy < p.in_h) & (ix < p.in_w) {
                        value[j] = x[n * p.in_c * p.in_h * p.in_w + start[4u * f + j] + iy * p.in_w + ix];
                    }
                }
                b_tile[own * (B_WIDTH + 1u) + v] = value;
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
            let m = m0 + r * 4u * Y + place.y + Y * j;
            for (var v = 0u; v < COLUMNS; v++) { // unroll
                for (var i = 0u; i < 4u; i++) { // unroll
                    let column = column0 + v * 4u * X + place.x + X * i;
                    if (m < p.out_c) & (column < columns) {
                        partial[(group.z * p.out_c + m) * columns + column] = sum[(4u * r + j) * COLUMNS + v][i];
                    }
                }
            }
        }
    }
}
