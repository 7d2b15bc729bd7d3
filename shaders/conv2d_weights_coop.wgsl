// conv2d_weights_coop: conv2d_weights_gemm.wgsl's product by cooperative matrices (tensor cores), f16 in and f32 out.
//
//   partial[split][m][c][ky][kx] = sum over the positions (n, oy, ox) of the split of
//       dy[n, m, oy, ox] x[n, c, S oy + ky - padding, S ox + kx - padding]
//
//   A = dy   [out channels, (n, oy, ox)]
//   B = x    [(n, oy, ox), (c, ky, kx)]
//
// reduce.wgsl adds the parts in the order of the splits. Blocks, rounds and scales are those of matmul_coop.wgsl. Lanes run
// along positions for both operands, so B's tile lies turned over and is loaded by columns.
// K, S: convolution; T, LANES, SUBGROUPS: as in matmul_coop.wgsl.
// Grid: x = ceil(in_c K K / (4 T)), y = ceil(out_c / (4 T)), z = splits.

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    padding: u32, chunk: u32,           // positions a split
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> peaks: array<u32>;         // of dy, of x
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;

const LINE: u32 = 2u * T + 8u;
var<workgroup> a_tile: array<f16, 4u * T * LINE>;
var<workgroup> b_tile: array<f16, 4u * T * LINE>;
var<workgroup> staged: array<f32, SUBGROUPS * T * T>;
var<workgroup> subgroups: vec4<u32>;
// Of each weight (c, ky, kx): the plane of x, and where the tap lies in it.
var<workgroup> places: array<vec3<u32>, 4u * T>;

@compute @workgroup_size(LANES)
fn conv2d_weights(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32,
                  @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) count: u32) {
    let m0 = group.y * 4u * T;
    let column0 = group.x * 4u * T;
    let columns = p.in_c * K * K;
    let plane = p.out_h * p.out_w;
    let a_scale = scale(peaks[0]);
    let b_scale = scale(peaks[1]);
    if lane == 0u { subgroups = vec4<u32>(count); }
    for (var i = lane; i < 4u * T; i += LANES) {
        let t = min(column0 + i, columns - 1u);
        places[i] = vec3<u32>(t / (K * K) * p.in_h * p.in_w, t / K % K, t % K);
    }
    workgroupBarrier();

    let last = min((group.z + 1u) * p.chunk, p.batch * plane);
    for (var block0 = 0u; block0 < 4u; block0 += subgroups.x) {
        let block = min(block0 + subgroup, 3u);
        let row = block / 2u * 2u * T;
        let column = block % 2u * 2u * T;
        var sum: array<Sum, 4>;
        for (var k0 = group.z * p.chunk; k0 < last; k0 += 2u * T) {
            let own = lane % (2u * T);
            let q = min(k0 + own, last - 1u);
            let inside = k0 + own < last;
            let dy_start = q / plane * p.out_c * plane + q % plane;
            let x_start = q / plane * p.in_c * p.in_h * p.in_w;
            let iy0 = q % plane / p.out_w * S - p.padding;
            let ix0 = q % p.out_w * S - p.padding;
            for (var r = lane / (2u * T); r < 4u * T; r += LANES / (2u * T)) {
                var value = 0.0;
                if inside & (m0 + r < p.out_c) { value = dy[dy_start + (m0 + r) * plane]; }
                a_tile[r * LINE + own] = f16(value * a_scale);
                // Below zero is far above every extent.
                let iy = iy0 + places[r].y;
                let ix = ix0 + places[r].z;
                value = 0.0;
                if inside & (iy < p.in_h) & (ix < p.in_w) { value = x[x_start + places[r].x + iy * p.in_w + ix]; }
                b_tile[r * LINE + own] = f16(value * b_scale);
            }
            workgroupBarrier();
            for (var step = 0u; step < 2u; step++) { // unroll
                let upper = coopLoadT<Left>(&a_tile[row * LINE + step * T], LINE);
                let lower = coopLoadT<Left>(&a_tile[(row + T) * LINE + step * T], LINE);
                let left = coopLoad<Right>(&b_tile[column * LINE + step * T], LINE);
                let right = coopLoad<Right>(&b_tile[(column + T) * LINE + step * T], LINE);
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
                let t = column0 + (stored % 2u * 2u + s % 2u) * T + i % T;
                if (stored < 4u) & (m < p.out_c) & (t < columns) {
                    partial[(group.z * p.out_c + m) * columns + t] = unscaled(staged[i], peaks[0], peaks[1]);
                }
            }
            workgroupBarrier();
        }
    }
}
