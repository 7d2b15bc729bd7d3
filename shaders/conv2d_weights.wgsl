// conv2d_weights: the weight gradient, split over the batch.
//
//   partial[split][m][c][ky][kx] = sum over n in the split, oy, ox of
//       dy[n, m, oy, ox] x[n, c, S oy + ky - padding, S ox + kx - padding]
//
// As a GEMM this is M = out_c, N = in_c k k, K = batch out_h out_w: short, narrow and very long, so K is
// split over workgroups and the partial sums are added by a second pass in a fixed order (reduce.wgsl).
//
// One invocation: MB channels m x all KW taps of one (c, ky), in registers. Lanes run over (c, ky); a
// row segment of x is loaded once and serves all taps; dy has the same address for the whole workgroup.
// KH, KW, S: convolution; MB, XB, LANES: tile (XB positions of a row at a time).
// Grid: x = ceil(in_c KH / LANES), y = splits, z = ceil(out_c / MB).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    padding: u32, images: u32,          // images a split
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

const SPAN: u32 = (XB - 1u) * S + KW;

@compute @workgroup_size(LANES)
fn conv2d_weights(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let index = group.x * LANES + lane;
    let i = min(index, p.in_c * KH - 1u);
    let c = i / KH;
    let ky = i % KH;
    let m0 = group.z * MB;
    var plane: array<u32, MB>;
    for (var m = 0u; m < MB; m++) { plane[m] = min(m0 + m, p.out_c - 1u) * p.out_h * p.out_w; }

    var sum: array<f32, MB * KW>;
    let last = min((group.y + 1u) * p.images, p.batch);
    for (var n = group.y * p.images; n < last; n++) {
        for (var oy = 0u; oy < p.out_h; oy++) {
            let iy = i32(oy * S + ky) - i32(p.padding);
            let inside = iy >= 0 && iy < i32(p.in_h);
            let row = ((n * p.in_c + c) * p.in_h + u32(clamp(iy, 0, i32(p.in_h) - 1))) * p.in_w;
            let dy_row = n * p.out_c * p.out_h * p.out_w + oy * p.out_w;
            for (var ox0 = 0u; ox0 < p.out_w; ox0 += XB) {
                let ix0 = i32(ox0 * S) - i32(p.padding);
                var line: array<f32, SPAN>;
                for (var s = 0u; s < SPAN; s++) {
                    let ix = ix0 + i32(s);
                    let value = x[row + u32(clamp(ix, 0, i32(p.in_w) - 1))];
                    line[s] = select(0.0, value, inside && ix >= 0 && ix < i32(p.in_w));
                }
                for (var m = 0u; m < MB; m++) {
                    for (var j = 0u; j < XB; j++) {
                        let ox = min(ox0 + j, p.out_w - 1u);
                        let g = select(0.0, dy[dy_row + plane[m] + ox], ox0 + j < p.out_w);
                        for (var kx = 0u; kx < KW; kx++) { sum[m * KW + kx] += g * line[j * S + kx]; }
                    }
                }
            }
        }
    }
    if index >= p.in_c * KH { return; }
    for (var m = 0u; m < MB; m++) {
        if m0 + m < p.out_c {
            let out = ((group.y * p.out_c + m0 + m) * p.in_c * KH + i) * KW;
            for (var kx = 0u; kx < KW; kx++) { partial[out + kx] = sum[m * KW + kx]; }
        }
    }
}
