// conv2d_lanes: conv2d_taps.wgsl's sum the other way round: lanes have output channels, and all need the same x.
//
//   out[n, m, SO gy + py, SO gx + px] = sum over c, ky, kx of
//       weights[phase][m][c][ky][kx] x[n, c, S gy + ky - pad_y, S gx + kx - pad_x]   (+ bias[m]) (then ReLU)
//
// conv2d_subgroup.wgsl reads x once for each lane and broadcasts weights. Here a workgroup has one block of positions: its
// window of x is read once for all lanes, LANES values a read, and each value is broadcast once for each row of sums that
// needs it; every lane reads its own weights. A block of 8 x 8 positions with three taps a side needs 100 values of x,
// 13 reads, and 9 reads of weights, for 576 products a lane.
//
//     x:   o o o o o o o o o o        lane l holds values l, LANES + l, 2 LANES + l, ... of the window, row by row
//          o # # # # # # # # o
//          o # # # # # # # # o        # positions of the block      o what the taps reach beyond it
//          ...
//
// A workgroup is one subgroup: LANES is the adapter's subgroup size. One invocation: MB channels m0 + lane, m0 + LANES + lane,
// ... x RB rows x XB positions. PACKED, KH, KW, S, SO, FLIP, BIAS, RELU, LINES, SPAN: as in conv2d_taps.wgsl; TAPS = KH KW;
// WINDOW = ceil(LINES SPAN / LANES); REST = (MB - 1) RB XB.
// Grid: x and y: linear over batch x ceil(grid_h / RB) x ceil(grid_w / XB), z = phases_y phases_x ceil(out_c / (MB LANES)).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    grid_h: u32, grid_w: u32, padding: u32, first_px: u32, phases_x: u32, channels: u32, first_py: u32,
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
    let row_blocks = (p.grid_h + RB - 1u) / RB;
    let i = group.y * groups.x + group.x;
    if i >= p.batch * row_blocks * blocks { return; }
    let gx0 = (i % blocks) * XB;
    let gy0 = ((i / blocks) % row_blocks) * RB;
    let n = i / (blocks * row_blocks);

    let channel_blocks = (p.out_c + MB * LANES - 1u) / (MB * LANES);
    let m0 = (group.z % channel_blocks) * MB * LANES + lane;
    let py = p.first_py + group.z / channel_blocks / p.phases_x;
    let px = p.first_px + group.z / channel_blocks % p.phases_x;
    let phase = py * SO + px;
    var pad_y = i32(p.padding);
    var pad_x = i32(p.padding);
    if FLIP == 1u {
        pad_y = i32(KH) - 1 - i32((py + p.padding) / SO);
        pad_x = i32(KW) - 1 - i32((px + p.padding) / SO);
    }

    // Where this lane's values of the window lie in the first plane, and whether they are in it.
    let plane = p.in_h * p.in_w;
    var place: array<u32, WINDOW>;
    var inside: array<bool, WINDOW>;
    for (var v = 0u; v < WINDOW; v++) { // unroll
        let t = v * LANES + lane;
        let iy = i32(gy0 * S + t / SPAN) - pad_y;
        let ix = i32(gx0 * S + t % SPAN) - pad_x;
        inside[v] = (u32(iy) < p.in_h) & (u32(ix) < p.in_w);
        place[v] = n * p.in_c * plane + u32(clamp(iy, 0, i32(p.in_h) - 1)) * p.in_w + u32(clamp(ix, 0, i32(p.in_w) - 1));
    }
    // Channels past the end read the last one's weights.
    var at: array<u32, MB>;
    for (var m = 0u; m < MB; m++) { // unroll
        let channel = phase * p.out_c + min(m0 + m * LANES, p.out_c - 1u);
        at[m] = ((channel * p.in_c + 1u) * PACKED - KH) * PACKED + PACKED - KW;
    }

    var sum: array<f32, MB * RB * XB>;
    for (var c = 0u; c < p.in_c; c++) {
        var held: array<f32, WINDOW>;
        for (var v = 0u; v < WINDOW; v++) { // unroll
            held[v] = select(0.0, x[place[v] + c * plane], inside[v]);
        }
        var w: array<f32, MB * TAPS>;
        for (var m = 0u; m < MB; m++) { // unroll
            for (var tap = 0u; tap < TAPS; tap++) { // unroll
                w[m * TAPS + tap] = weights[at[m] + (c * PACKED + tap / KW) * PACKED + tap % KW];
            }
        }
        for (var r = 0u; r < RB; r++) { // unroll
            var line: array<f32, KH * SPAN>;
            for (var ky = 0u; ky < KH; ky++) { // unroll
                for (var s = 0u; s < SPAN; s++) { // unroll
                    let t = (r * S + ky) * SPAN + s;
                    line[ky * SPAN + s] = subgroupBroadcast(held[t / LANES], t % LANES);
                }
            }
            for (var m = 0u; m < MB; m++) { // unroll
                for (var tap = 0u; tap < TAPS; tap++) { // unroll
                    for (var j = 0u; j < XB; j++) { // unroll
                        sum[(m * RB + r) * XB + j] += w[m * TAPS + tap] * line[tap / KW * SPAN + j * S + tap % KW];
                    }
                }
            }
        }
    }

    // Channels take turns at one block of stores, as in conv2d_subgroup.wgsl. p.channels is MB.
    let turns = min((max(p.out_c, m0) - m0 + LANES - 1u) / LANES, p.channels);
    for (var turn = 0u; turn < turns; turn++) {
        let m = m0 + turn * LANES;
        var constant = 0.0;
        if BIAS == 1u { constant = bias[m]; }
        for (var r = 0u; r < RB; r++) { // unroll
            let oy = (gy0 + r) * SO + py;
            if (gy0 + r < p.grid_h) & (oy < p.out_h) {
                let row = ((n * p.out_c + m) * p.out_h + oy) * p.out_w;
                for (var j = 0u; j < XB; j++) { // unroll
                    let ox = (gx0 + j) * SO + px;
                    if (gx0 + j < p.grid_w) & (ox < p.out_w) {
                        var value = sum[r * XB + j];
                        if BIAS == 1u { value += constant; }
                        if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                        out[row + ox] = value;
                    }
                }
            }
        }
        for (var t = 0u; t < REST; t++) { // unroll
            sum[t] = sum[t + RB * XB];
        }
    }
}
