// conv2d_coop: conv2d_gemm.wgsl's product by cooperative matrices (tensor cores), f16 in and f32 out.
//
//   out[n, m, SO gy + py, SO gx + px] = sum over c, ky, kx of
//       weights[phase][m][c][ky][kx] x[n, c, S gy + ky - pad_y, S gx + kx - pad_x]   (+ bias[m]) (then ReLU)
//
//   A = weights   [out channels, (c, ky, kx)]
//   B = x         [(c, ky, kx), (n, gy, gx)]         gathered when a tile is fetched
//
// Blocks, rounds, scales and stores are those of matmul_coop.wgsl, phases and taps those of conv2d_gemm.wgsl; LANES is a
// multiple of 4 T, so that an invocation fetches for one position all the time.
// KERNEL, KH, KW, S, SO, FLIP, BIAS, RELU: as in conv2d.wgsl; T, LANES, SUBGROUPS: as in matmul_coop.wgsl.
// Grid: linear over batch x grid_h x grid_w / (4 T) in x and y, z = SO phases_x ceil(out_c / (4 T)).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    grid_h: u32, grid_w: u32, padding: u32, first_px: u32, phases_x: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> peaks: array<u32>;         // of weights, of x
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

const A_LINE: u32 = 2u * T + 8u;
const B_LINE: u32 = 4u * T + 8u;
var<workgroup> a_tile: array<f16, 4u * T * A_LINE>;
var<workgroup> b_tile: array<f16, 2u * T * B_LINE>;
var<workgroup> staged: array<f32, SUBGROUPS * T * T>;
var<workgroup> subgroups: vec4<u32>;

@compute @workgroup_size(LANES)
fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) subgroup: u32,
          @builtin(num_subgroups) count: u32) {
    let row_blocks = (p.out_c + 4u * T - 1u) / (4u * T);
    let m0 = group.z % row_blocks * 4u * T;
    let py = group.z / row_blocks / p.phases_x;
    let px = p.first_px + group.z / row_blocks % p.phases_x;
    let phase = py * SO + px;
    let positions = p.batch * p.grid_h * p.grid_w;
    let position0 = (group.y * groups.x + group.x) * 4u * T;
    var pad_y = p.padding;
    var pad_x = p.padding;
    if FLIP == 1u {
        pad_y = KH - 1u - (py + p.padding) / SO;
        pad_x = KW - 1u - (px + p.padding) / SO;
    }
    let taps = (KERNEL - (py + p.padding) % SO + SO - 1u) / SO;
    let absent = KH - taps;
    let depth = p.in_c * taps * KW;
    let a_scale = scale(peaks[0]);
    let b_scale = scale(peaks[1]);
    if lane == 0u { subgroups = vec4<u32>(count); }
    workgroupBarrier();

    // The position that this invocation fetches for. Below zero is far above every extent.
    let column_of = lane % (4u * T);
    let own_position = min(position0 + column_of, positions - 1u);
    let image = own_position / (p.grid_h * p.grid_w) * p.in_c * p.in_h * p.in_w;
    let iy0 = own_position / p.grid_w % p.grid_h * S - pad_y;
    let ix0 = own_position % p.grid_w * S - pad_x;

    for (var block0 = 0u; block0 < 4u; block0 += subgroups.x) {
        let block = min(block0 + subgroup, 3u);
        let row = block / 2u * 2u * T;
        let column = block % 2u * 2u * T;
        var sum: array<Sum, 4>;
        for (var k0 = 0u; k0 < depth; k0 += 2u * T) {
            let own = k0 + lane % (2u * T);
            let tap = (own / (taps * KW) * KH + absent + own / KW % taps) * KH + KH - KW + own % KW;
            for (var r = lane / (2u * T); r < 4u * T; r += LANES / (2u * T)) {
                var value = 0.0;
                if (own < depth) & (m0 + r < p.out_c) {
                    value = weights[(phase * p.out_c + m0 + r) * p.in_c * KH * KH + tap];
                }
                a_tile[r * A_LINE + lane % (2u * T)] = f16(value * a_scale);
            }
            for (var line = lane / (4u * T); line < 2u * T; line += LANES / (4u * T)) {
                let k = k0 + line;
                let iy = iy0 + absent + k / KW % taps;
                let ix = ix0 + k % KW;
                var value = 0.0;
                if (k < depth) & (iy < p.in_h) & (ix < p.in_w) {
                    value = x[image + (k / (taps * KW) * p.in_h + iy) * p.in_w + ix];
                }
                b_tile[line * B_LINE + column_of] = f16(value * b_scale);
            }
            workgroupBarrier();
            for (var step = 0u; step < 2u; step++) { // unroll
                let upper = coopLoadT<Left>(&a_tile[row * A_LINE + step * T], A_LINE);
                let lower = coopLoadT<Left>(&a_tile[(row + T) * A_LINE + step * T], A_LINE);
                let left = coopLoadT<Right>(&b_tile[step * T * B_LINE + column], B_LINE);
                let right = coopLoadT<Right>(&b_tile[step * T * B_LINE + column + T], B_LINE);
                sum[0] = coopMultiplyAdd(upper, left, sum[0]);
                sum[1] = coopMultiplyAdd(upper, right, sum[1]);
                sum[2] = coopMultiplyAdd(lower, left, sum[2]);
                sum[3] = coopMultiplyAdd(lower, right, sum[3]);
            }
            workgroupBarrier();
        }

        for (var s = 0u; s < 4u; s++) { // unroll
            coopStoreT(sum[s], &staged[subgroup * T * T], T);
            workgroupBarrier();
            for (var i = lane; i < subgroups.x * T * T; i += LANES) {
                let stored = block0 + i / (T * T);
                let m = m0 + (stored / 2u * 2u + s / 2u) * T + i / T % T;
                let q = position0 + (stored % 2u * 2u + s % 2u) * T + i % T;
                let oy = q / p.grid_w % p.grid_h * SO + py;
                let ox = q % p.grid_w * SO + px;
                if (stored < 4u) & (m < p.out_c) & (q < positions) & (oy < p.out_h) & (ox < p.out_w) {
                    var value = unscaled(staged[i], peaks[0], peaks[1]);
                    if BIAS == 1u { value += bias[m]; }
                    if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                    out[((q / (p.grid_h * p.grid_w) * p.out_c + m) * p.out_h + oy) * p.out_w + ox] = value;
                }
            }
            workgroupBarrier();
        }
    }
}
