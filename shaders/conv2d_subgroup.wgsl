// conv2d_subgroup: conv2d.wgsl's sum with the weights held by the lanes of one subgroup.
//
//   out[n, m, SO gy + py, SO gx + px] = sum over c, ky, kx of
//       weights[phase][m][c][ky][kx] x[n, c, S gy + ky - pad_y, S gx + kx - pad_x]   (+ bias[m]) (then ReLU)
//
// All lanes need the same MB KW weights for a (c, ky). Read at one address each they cost as much as reads that
// differ (a software adapter does not see that the address is uniform). So lane l reads weights l, l + LANES, ...:
// one read brings LANES weights, and a broadcast, which is a register move, hands each of them to all lanes.
// Weights then cost next to nothing, and a tile of many channels and few positions is best: the few positions of
// x stay in registers.
//
// A workgroup is one subgroup: LANES is the adapter's subgroup size. One invocation: MB channels x XB neighbouring
// positions of a row. KH, KW, S, SO, FLIP, SPAN, BIAS, RELU: as in conv2d.wgsl; WEIGHTS = ceil(MB KW / LANES).
// Grid: linear over batch x grid_h x ceil(grid_w / XB) in x and y, z = SO SO ceil(out_c / MB).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    grid_h: u32, grid_w: u32, padding: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let blocks = (p.grid_w + XB - 1u) / XB;
    let index = (group.y * groups.x + group.x) * LANES + lane;
    let count = p.batch * p.grid_h * blocks;
    // Lanes past the end repeat the last one: they must stay, since the others read from them.
    let i = min(index, count - 1u);
    let gx0 = (i % blocks) * XB;
    let gy = (i / blocks) % p.grid_h;
    let n = i / (blocks * p.grid_h);

    let channel_blocks = (p.out_c + MB - 1u) / MB;
    let m0 = (group.z % channel_blocks) * MB;
    let phase = group.z / channel_blocks;
    let py = phase / SO;
    let px = phase % SO;
    var pad_y = i32(p.padding);
    var pad_x = i32(p.padding);
    if FLIP == 1u {
        pad_y = i32(KH) - 1 - i32((py + p.padding) / SO);
        pad_x = i32(KW) - 1 - i32((px + p.padding) / SO);
    }

    // Where this lane's weights begin. Channels past the end read the last one's.
    var at: array<u32, WEIGHTS>;
    for (var v = 0u; v < WEIGHTS; v++) { // unroll
        let t = v * LANES + lane;
        at[v] = (phase * p.out_c + min(m0 + t / KW, p.out_c - 1u)) * p.in_c * KH * KW + t % KW;
    }
    let ix0 = i32(gx0 * S) - pad_x;
    let iy0 = i32(gy * S) - pad_y;
    var sum: array<f32, MB * XB>;
    for (var c = 0u; c < p.in_c; c++) {
        for (var ky = 0u; ky < KH; ky++) {
            let iy = iy0 + i32(ky);
            let inside = iy >= 0 && iy < i32(p.in_h);
            let row = ((n * p.in_c + c) * p.in_h + u32(clamp(iy, 0, i32(p.in_h) - 1))) * p.in_w;
            var line: array<f32, SPAN>;
            for (var s = 0u; s < SPAN; s++) { // unroll
                let ix = ix0 + i32(s);
                let value = x[row + u32(clamp(ix, 0, i32(p.in_w) - 1))];
                line[s] = select(0.0, value, inside && ix >= 0 && ix < i32(p.in_w));
            }
            var held: array<f32, WEIGHTS>;
            for (var v = 0u; v < WEIGHTS; v++) { // unroll
                held[v] = weights[at[v] + (c * KH + ky) * KW];
            }
            for (var m = 0u; m < MB; m++) { // unroll
                for (var kx = 0u; kx < KW; kx++) { // unroll
                    let w = subgroupBroadcast(held[(m * KW + kx) / LANES], (m * KW + kx) % LANES);
                    for (var j = 0u; j < XB; j++) { // unroll
                        sum[m * XB + j] += w * line[j * S + kx];
                    }
                }
            }
        }
    }

    let oy = gy * SO + py;
    if index >= count || oy >= p.out_h { return; }
    for (var m = 0u; m < MB; m++) { // unroll
        if m0 + m < p.out_c {
            let row = ((n * p.out_c + m0 + m) * p.out_h + oy) * p.out_w;
            for (var j = 0u; j < XB; j++) { // unroll
                let ox = (gx0 + j) * SO + px;
                if gx0 + j < p.grid_w && ox < p.out_w {
                    var value = sum[m * XB + j];
                    if BIAS == 1u { value += bias[m0 + m]; }
                    if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                    out[row + ox] = value;
                }
            }
        }
    }
}
