// conv2d_weights: the weight gradient, split over the batch.
//
//   partial[split][m][c][ky][kx] = sum over n in the split, oy, ox of
//       dy[n, m, oy, ox] x[n, c, S oy + ky - padding, S ox + kx - padding]
//
// As a GEMM this is M = out_c, N = in_c k k, K = batch out_h out_w: short, narrow and very long, so K is
// split over workgroups and the partial sums are added by a second pass in a fixed order (reduce.wgsl).
//
// One invocation: MB channels m x all KW taps of CB neighbouring rows (c, ky), in registers. Lanes run over
// those rows; dy is read once for all of them, and a row segment of x serves all KW taps.
// KH, KW, S: convolution; SPAN = (XB - 1) S + KW, TAPS = CB MB KW; MB, CB, XB, LANES: tile (XB positions of a row at a time).
// Grid: x = ceil(in_c KH / (CB LANES)), y = splits, z = ceil(out_c / MB).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    padding: u32, images: u32,          // images a split
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(LANES)
fn conv2d_weights(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = (group.x * LANES + lane) * CB;
    let rows = p.in_c * KH;
    let m0 = group.z * MB;
    var plane: array<u32, MB>;
    for (var m = 0u; m < MB; m++) { // unroll
        plane[m] = min(m0 + m, p.out_c - 1u) * p.out_h * p.out_w;
    }

    var sum: array<f32, TAPS>;
    let last = min((group.y + 1u) * p.images, p.batch);
    for (var n = group.y * p.images; n < last; n++) {
        for (var oy = 0u; oy < p.out_h; oy++) {
            let dy_row = n * p.out_c * p.out_h * p.out_w + oy * p.out_w;
            for (var ox0 = 0u; ox0 < p.out_w; ox0 += XB) {
                var g: array<f32, MB * XB>;
                for (var m = 0u; m < MB; m++) { // unroll
                    for (var j = 0u; j < XB; j++) { // unroll
                        let value = dy[dy_row + plane[m] + min(ox0 + j, p.out_w - 1u)];
                        g[m * XB + j] = select(0.0, value, ox0 + j < p.out_w);
                    }
                }
                let ix0 = i32(ox0 * S) - i32(p.padding);
                for (var b = 0u; b < CB; b++) { // unroll
                    let i = min(index + b, rows - 1u);
                    let iy = i32(oy * S + i % KH) - i32(p.padding);
                    let inside = u32(iy) < p.in_h;
                    let row = ((n * p.in_c + i / KH) * p.in_h + u32(clamp(iy, 0, i32(p.in_h) - 1))) * p.in_w;
                    var line: array<f32, SPAN>;
                    for (var s = 0u; s < SPAN; s++) { // unroll
                        let ix = ix0 + i32(s);
                        let value = x[row + u32(clamp(ix, 0, i32(p.in_w) - 1))];
                        line[s] = select(0.0, value, inside & (u32(ix) < p.in_w));
                    }
                    for (var m = 0u; m < MB; m++) { // unroll
                        for (var kx = 0u; kx < KW; kx++) { // unroll
                            for (var j = 0u; j < XB; j++) { // unroll
                                sum[(b * MB + m) * KW + kx] += g[m * XB + j] * line[j * S + kx];
                            }
                        }
                    }
                }
            }
        }
    }
    for (var b = 0u; b < CB; b++) { // unroll
        for (var m = 0u; m < MB; m++) { // unroll
            if (index + b < rows) & (m0 + m < p.out_c) {
                let out = ((group.y * p.out_c + m0 + m) * rows + index + b) * KW;
                for (var kx = 0u; kx < KW; kx++) { // unroll
                    partial[out + kx] = sum[(b * MB + m) * KW + kx];
                }
            }
        }
    }
}
