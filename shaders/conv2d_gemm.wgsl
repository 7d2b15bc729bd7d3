// conv2d_gemm: conv2d.wgsl's sum as one product of matrices, of which the second is never written down (implicit GEMM).
//
//   out[n, m, SO gy + py, SO gx + px] = sum over c, ky, kx of
//       weights[phase][m][c][ky][kx] x[n, c, S gy + ky - pad_y, S gx + kx - pad_x]   (+ bias[m]) (then ReLU)
//
//   A = weights   [out channels, (c, ky, kx)]
//   B = x         [(c, ky, kx), (n, gy, gx)]         column (n, gy, gx): the window of x that this output sees
//
//                    k = (c, ky, kx)        (n, gy, gx)
//                 m  +-----------+     k  +---------------+      A tile of B is gathered from x when it is fetched; zero
//                    |     A     |        |       B       |      outside of the plane. The batch lies in the columns, so
//                    +-----------+        +---------------+      that small planes fill tiles, too.
//
// Forward and backward-data (one stride-1 convolution for each phase (py, px) of the stride, FLIP = 1) as in conv2d.wgsl,
// and with its weights: KERNEL, KH, KW, S, SO, FLIP, BIAS, RELU mean the same. Taps that a phase lacks are not in its k.
// Tiles, blocks and vectors are those of matmul_shared.wgsl: X, Y, ROWS, COLUMNS, DEPTH, FETCH_A, FETCH_B. Lanes run
// along k for A and along positions for B. X Y is a multiple of DEPTH and of X COLUMNS, so that an invocation fetches for
// the same positions all the time.
// Grid: linear over batch x grid_h x grid_w / (4 X COLUMNS) in x and y, z = SO phases_x ceil(out_c / (4 Y ROWS)).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    grid_h: u32, grid_w: u32, padding: u32, first_px: u32, phases_x: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

const A_WIDTH: u32 = Y * ROWS;
const B_WIDTH: u32 = X * COLUMNS;
var<workgroup> a_tile: array<vec4<f32>, DEPTH * (A_WIDTH + 1u)>;
var<workgroup> b_tile: array<vec4<f32>, DEPTH * B_WIDTH>;

@compute @workgroup_size(X, Y)
fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_id) place: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row_blocks = (p.out_c + 4u * A_WIDTH - 1u) / (4u * A_WIDTH);
    let m0 = group.z % row_blocks * 4u * A_WIDTH;
    let py = group.z / row_blocks / p.phases_x;
    let px = p.first_px + group.z / row_blocks % p.phases_x;
    let phase = py * SO + px;
    let positions = p.batch * p.grid_h * p.grid_w;
    let position0 = (group.y * groups.x + group.x) * 4u * B_WIDTH;
    var pad_y = p.padding;
    var pad_x = p.padding;
    if FLIP == 1u {
        pad_y = KH - 1u - (py + p.padding) / SO;
        pad_x = KW - 1u - (px + p.padding) / SO;
    }
    // The rows of taps that this phase has, and the sum's length.
    let taps = (KERNEL - (py + p.padding) % SO + SO - 1u) / SO;
    let absent = KH - taps;
    let depth = p.in_c * taps * KW;

    // The four positions that this invocation fetches for. Below zero is far above every extent.
    let column = lane % B_WIDTH;
    var image: array<u32, 4>;
    var iy0: array<u32, 4>;
    var ix0: array<u32, 4>;
    for (var j = 0u; j < 4u; j++) { // unroll
        let q = min(position0 + column / X * 4u * X + column % X + X * j, positions - 1u);
        image[j] = q / (p.grid_h * p.grid_w) * p.in_c * p.in_h * p.in_w;
        iy0[j] = q / p.grid_w % p.grid_h * S - pad_y;
        ix0[j] = q % p.grid_w * S - pad_x;
    }

    var sum: array<vec4<f32>, 4u * ROWS * COLUMNS>;
    for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
        let own = min(k0 + lane % DEPTH, depth - 1u);
        let tap = (own / (taps * KW) * KH + absent + own / KW % taps) * KH + KH - KW + own % KW;
        for (var f = 0u; f < FETCH_A; f++) { // unroll
            let v = (f * X * Y + lane) / DEPTH;
            if v < A_WIDTH {
                let first = m0 + v / Y * 4u * Y + v % Y;
                var value = vec4<f32>();
                if k0 + lane % DEPTH < depth {
                    for (var j = 0u; j < 4u; j++) { // unroll
                        let m = phase * p.out_c + min(first + Y * j, p.out_c - 1u);
                        value[j] = weights[m * p.in_c * KH * KH + tap];
                    }
                }
                a_tile[lane % DEPTH * (A_WIDTH + 1u) + v] = value;
            }
        }
        for (var f = 0u; f < FETCH_B; f++) { // unroll
            let line = (f * X * Y + lane) / B_WIDTH;
            if line < DEPTH {
                let k = k0 + line;
                let plane = k / (taps * KW) * p.in_h * p.in_w;
                let ky = absent + k / KW % taps;
                let kx = k % KW;
                var value = vec4<f32>();
                for (var j = 0u; j < 4u; j++) { // unroll
                    let iy = iy0[j] + ky;
                    let ix = ix0[j] + kx;
                    if (k < depth) & (iy < p.in_h) & (ix < p.in_w) {
                        value[j] = x[image[j] + plane + iy * p.in_w + ix];
                    }
                }
                b_tile[line * B_WIDTH + column] = value;
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) { // unroll
            var line: array<vec4<f32>, COLUMNS>;
            for (var v = 0u; v < COLUMNS; v++) { // unroll
                line[v] = b_tile[k * B_WIDTH + v * X + place.x];
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

    for (var v = 0u; v < COLUMNS; v++) { // unroll
        for (var i = 0u; i < 4u; i++) { // unroll
            let q = position0 + v * 4u * X + place.x + X * i;
            let oy = q / p.grid_w % p.grid_h * SO + py;
            let ox = q % p.grid_w * SO + px;
            let at = (q / (p.grid_h * p.grid_w) * p.out_c * p.out_h + oy) * p.out_w + ox;
            if (q < positions) & (oy < p.out_h) & (ox < p.out_w) {
                for (var r = 0u; r < ROWS; r++) { // unroll
                    for (var j = 0u; j < 4u; j++) { // unroll
                        let m = m0 + r * 4u * Y + place.y + Y * j;
                        if m < p.out_c {
                            var value = sum[(4u * r + j) * COLUMNS + v][i];
                            if BIAS == 1u { value += bias[m]; }
                            if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                            out[at + m * p.out_h * p.out_w] = value;
                        }
                    }
                }
            }
        }
    }
}
