// conv2d_taps: conv2d_subgroup.wgsl's sum where there are few taps: all of a channel's taps at once.
//
//   out[n, m, SO gy + py, SO gx + px] = sum over c, ky, kx of
//       weights[phase][m][c][ky][kx] x[n, c, S gy + ky - pad_y, S gx + kx - pad_x]   (+ bias[m]) (then ReLU)
//
// Backward-data at stride 2 leaves a phase four taps of nine, or two, or one. conv2d_subgroup.wgsl's loop over rows of taps
// then has two turns or one, and each turn takes every sum up and puts it down again. Here is no such loop: a turn of
// the loop over c reads all lines, and takes every sum up once for all KH KW taps. Nor is a tap tested in vain: a launch
// has the rows py from first_py, and the columns px from first_px, whose last KH and KW taps are not zero.
//
// A workgroup is one subgroup: LANES is the adapter's subgroup size. One invocation: MB channels x RB neighbouring
// rows x XB neighbouring positions. PACKED: extent of the weights of a phase as they lie there; KH, KW: of its taps; S, SO,
// FLIP, SPAN, BIAS, RELU: as in conv2d.wgsl; LINES = (RB - 1) S + KH; WEIGHTS = ceil(MB KH KW / LANES);
// REST = (MB - 1) RB XB.
// Put after table_storage.wgsl or table_uniform.wgsl.
// Grid: linear over batch x ceil(grid_h / RB) x ceil(grid_w / XB) in x and y, z = phases_y phases_x ceil(out_c / MB).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    grid_h: u32, grid_w: u32, padding: u32, first_px: u32, phases_x: u32, channels: u32, first_py: u32,
}
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

// x at (iy, ix) of the plane that begins at `plane`; zero outside.
fn padded(plane: u32, iy: i32, ix: i32) -> f32 {
    let clamped = plane + u32(clamp(iy, 0, i32(p.in_h) - 1)) * p.in_w + u32(clamp(ix, 0, i32(p.in_w) - 1));
    return select(0.0, x[clamped], (u32(iy) < p.in_h) & (u32(ix) < p.in_w));
}

@compute @workgroup_size(LANES)
fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    p = given;
    let blocks = (p.grid_w + XB - 1u) / XB;
    let index = (group.y * groups.x + group.x) * LANES + lane;
    let row_blocks = (p.grid_h + RB - 1u) / RB;
    let count = p.batch * row_blocks * blocks;
    // Lanes past the end repeat the last one: they must stay, since the others read from them.
    let i = min(index, count - 1u);
    let gx0 = (i % blocks) * XB;
    let gy0 = ((i / blocks) % row_blocks) * RB;
    let n = i / (blocks * row_blocks);

    let channel_blocks = (p.out_c + MB - 1u) / MB;
    let m0 = (group.z % channel_blocks) * MB;
    let py = p.first_py + group.z / channel_blocks / p.phases_x;
    let px = p.first_px + group.z / channel_blocks % p.phases_x;
    let phase = py * SO + px;
    var pad_y = i32(p.padding);
    var pad_x = i32(p.padding);
    if FLIP == 1u {
        pad_y = i32(KH) - 1 - i32((py + p.padding) / SO);
        pad_x = i32(KW) - 1 - i32((px + p.padding) / SO);
    }

    // Where this lane's weights begin. Channels past the end read the last one's.
    var at: array<u32, WEIGHTS>;
    for (var v = 0u; v < WEIGHTS; v++) { // unroll
        let tap = v * LANES + lane;
        let channel = phase * p.out_c + min(m0 + tap / (KH * KW), p.out_c - 1u);
        at[v] = ((channel * p.in_c + 1u) * PACKED - KH + tap / KW % KH) * PACKED + PACKED - KW + tap % KW;
    }
    let ix0 = i32(gx0 * S) - pad_x;
    let iy0 = i32(gy0 * S) - pad_y;
    var sum: array<f32, MB * RB * XB>;
    for (var c = 0u; c < p.in_c; c++) {
        let plane = (n * p.in_c + c) * p.in_h * p.in_w;
        var line: array<f32, LINES * SPAN>;
        for (var r = 0u; r < LINES; r++) { // unroll
            for (var s = 0u; s < SPAN; s++) { // unroll
                line[r * SPAN + s] = padded(plane, iy0 + i32(r), ix0 + i32(s));
            }
        }
        var held: array<f32, WEIGHTS>;
        for (var v = 0u; v < WEIGHTS; v++) { // unroll
            held[v] = table_at(at[v] + c * PACKED * PACKED);
        }
        for (var m = 0u; m < MB; m++) { // unroll
            for (var ky = 0u; ky < KH; ky++) { // unroll
                for (var kx = 0u; kx < KW; kx++) { // unroll
                    let tap = (m * KH + ky) * KW + kx;
                    let w = subgroupBroadcast(held[tap / LANES], tap % LANES);
                    for (var r = 0u; r < RB; r++) { // unroll
                        for (var j = 0u; j < XB; j++) { // unroll
                            sum[(m * RB + r) * XB + j] += w * line[(r * S + ky) * SPAN + j * S + kx];
                        }
                    }
                }
            }
        }
    }

    if index >= count { return; }
    // Channels take turns at one block of stores, as in conv2d_subgroup.wgsl. p.channels is MB.
    let channels = min(p.out_c - m0, p.channels);
    for (var m = m0; m < m0 + channels; m++) {
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
