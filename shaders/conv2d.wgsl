// conv2d, direct: forward, and backward-data as one stride-1 convolution for each phase of the stride.
//
//   out[n, m, SO gy + py, SO gx + px] = sum over c, ky, kx of
//       weights[phase][m][c][ky][kx] x[n, c, S gy + ky - pad_y, S gx + kx - pad_x]   (+ bias[m]) (then ReLU)
//
// Forward: SO = 1, S = stride, pad = padding. Backward-data (FLIP = 1): S = 1, SO = stride; every phase
// (py, px) of the output meets only every SO-th tap, so conv2d_pack.wgsl gives it a small kernel of its
// own, KH x KH, and no tap is tested in vain; pad = KH - 1 - (py + padding) / SO. Where phases have unequal taps
// (3 taps at stride 2 are 1 and 2), each launch takes the columns px from first_px whose last KW taps are not zero,
// and the loop over ky begins at the first row that the phase has. A transposed convolution's forward pass is the same
// thing.
//
// One invocation: MB channels x XB neighbouring positions of a row, in registers. A row segment of the
// input is loaded once and serves all KW taps; weights have the same address for the whole workgroup.
// KERNEL: the kernel's whole extent; KH, KW, S, SO, FLIP: above (forward, KH = KW = KERNEL); SPAN = (XB - 1) S + KW; MB, XB, LANES: tile; BIAS, RELU: 0 or 1.
// Grid: linear over batch x grid_h x ceil(grid_w / XB) in x and y, z = SO phases_x ceil(out_c / MB).

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

@compute @workgroup_size(LANES)
fn conv2d(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let blocks = (p.grid_w + XB - 1u) / XB;
    let index = (group.y * groups.x + group.x) * LANES + lane;
    let count = p.batch * p.grid_h * blocks;
    // Lanes past the end repeat the last one; only their store is left out.
    let i = min(index, count - 1u);
    let gx0 = (i % blocks) * XB;
    let gy = (i / blocks) % p.grid_h;
    let n = i / (blocks * p.grid_h);

    let channel_blocks = (p.out_c + MB - 1u) / MB;
    let m0 = (group.z % channel_blocks) * MB;
    let py = group.z / channel_blocks / p.phases_x;
    let px = p.first_px + group.z / channel_blocks % p.phases_x;
    let phase = py * SO + px;
    var pad_y = i32(p.padding);
    var pad_x = i32(p.padding);
    if FLIP == 1u {
        pad_y = i32(KH) - 1 - i32((py + p.padding) / SO);
        pad_x = i32(KW) - 1 - i32((px + p.padding) / SO);
    }

    // Channels past the end read the last one's weights.
    var at: array<u32, MB>;
    for (var m = 0u; m < MB; m++) { // unroll
        at[m] = (phase * p.out_c + min(m0 + m, p.out_c - 1u)) * p.in_c * KH * KH + KH - KW;
    }
    let ix0 = i32(gx0 * S) - pad_x;
    let iy0 = i32(gy * S) - pad_y;
    let absent = KH - (KERNEL - (py + p.padding) % SO + SO - 1u) / SO;
    var sum: array<f32, MB * XB>;
    for (var c = 0u; c < p.in_c; c++) {
        for (var ky = absent; ky < KH; ky++) {
            let iy = iy0 + i32(ky);
            // Of a negative one, u32 makes a large one.
            let inside = u32(iy) < p.in_h;
            let row = ((n * p.in_c + c) * p.in_h + u32(clamp(iy, 0, i32(p.in_h) - 1))) * p.in_w;
            var line: array<f32, SPAN>;
            for (var s = 0u; s < SPAN; s++) { // unroll
                let ix = ix0 + i32(s);
                let value = x[row + u32(clamp(ix, 0, i32(p.in_w) - 1))];
                line[s] = select(0.0, value, inside & (u32(ix) < p.in_w));
            }
            for (var m = 0u; m < MB; m++) { // unroll
                for (var kx = 0u; kx < KW; kx++) { // unroll
                    let w = weights[at[m] + (c * KH + ky) * KH + kx];
                    for (var j = 0u; j < XB; j++) { // unroll
                        sum[m * XB + j] += w * line[j * S + kx];
                    }
                }
            }
        }
    }

    let oy = gy * SO + py;
    if (index >= count) | (oy >= p.out_h) { return; }
    for (var m = 0u; m < MB; m++) { // unroll
        if m0 + m < p.out_c {
            let row = ((n * p.out_c + m0 + m) * p.out_h + oy) * p.out_w;
            for (var j = 0u; j < XB; j++) { // unroll
                let ox = (gx0 + j) * SO + px;
                if (gx0 + j < p.grid_w) & (ox < p.out_w) {
                    var value = sum[m * XB + j];
                    if BIAS == 1u { value += bias[m0 + m]; }
                    if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                    out[row + ox] = value;
                }
            }
        }
    }
}
