// conv2d_subgroup: conv2d.wgsl's sum with the weights held by the lanes of one subgroup.
//
//   out[n, m, SO gy + py, SO gx + px] = sum over c, ky, kx of
//       weights[phase][m][c][ky][kx] x[n, c, S gy + ky - pad_y, S gx + kx - pad_x]   (+ bias[m]) (then ReLU)
//
// All lanes need the same MB KW weights for a (c, ky). Read at one address each they cost as much as reads that
// differ (a software adapter does not see that the address is uniform). So lane l reads weights l, l + LANES, ...:
// one read brings LANES weights, and a broadcast, which is a register move, hands each of them to all lanes.
// Weights then cost next to nothing, and what is left to save is reads of x. RB output rows to one invocation share
// them: at stride 1 the line of x that serves row r at ky serves row r + 1 at ky - 1, so each step of ky reads one
// new line and hands the others on. Where strides are 1, and the rows of x and of the output, the padding to their left,
// positions and the line itself (so KW is 1, 5, 9 ...) all are multiples of four, a line is read and stored by fours: four
// values that lie side by side cost a software adapter as much as two that do not. And by twos where all are even.
// Sums take their turns by rows, and within a row along its line of x: a value meets all its taps before the next does. So KW
// sums are under way at a time, whatever XB is, and fit a processor's registers beside the weights of a row of taps. (Where
// S > 1, one sum after the other meets its taps.)
// Where a block is a whole row and the padding all that the kernel reaches (backward-data of a convolution without padding),
// the columns of x that are padding are the same for all lanes. Then a line is the columns inside alone, each of which meets
// all KW taps: of lenet's second layer 10 reads and 50 products a row rather than 18 and 70.
//
// Needs scalar.wgsl, vec2.wgsl or vec4.wgsl before it: EACH is how many values a read or a store has, 1, 2 or 4. Then
// table_storage.wgsl or table_uniform.wgsl, and how it begins: conv2d_read.wgsl, conv2d_read_normalized.wgsl or
// conv2d_read_unpooled.wgsl, of which begin_channel is called for each channel, then begin_line for each of its lines, from line
// `first` of the plane on, one after the other, and values for what is in the line. And how it ends: conv2d_store.wgsl, conv2d_store_step.wgsl, or conv2d_store_pooled.wgsl, which takes two rows of
// sums at once: TALL = 1 or 2, BELOW = TALL - 1, STRIPS = RB / TALL.
// A workgroup is one subgroup: LANES is the adapter's subgroup size. One invocation: MB channels x RB neighbouring
// rows x XB neighbouring positions. KERNEL, KH, KW, S, SO, FLIP, SPAN, BIAS, RELU: as in conv2d.wgsl; TURNED = 1 where FLIP = 1
// and SO = 1; SHARED = RB - 1, which must be 0 where S > 1; READS = SPAN / EACH; STORES = XB / EACH; BESIDE: KW - 1 columns of
// padding to the left of whole rows, elsewhere 0; LAST = XB - 1; SLID = SPAN and PAIRED = 0 at S = 1, elsewhere 0 and XB;
// WEIGHTS = ceil(MB KW / LANES); REST = (MB - 1) RB XB.
// Grid: linear over batch x ceil(grid_h / RB) x ceil(grid_w / XB) in x and y, z = SO phases_x ceil(out_c / MB).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    grid_h: u32, grid_w: u32, padding: u32, first_px: u32, phases_x: u32, channels: u32, first_py: u32,
    step: f32, eps: f32, low: f32, high: f32,
}
// llvmpipe of Mesa 22 reads a uniform value within a branch lane by lane, so all are read once, before any.
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

// The Value that has (iy, ix) of a plane, or the nearest that there is; and whether it is there.
fn nearest(plane: u32, iy: i32, ix: i32) -> u32 {
    let row = plane * p.in_h + u32(clamp(iy, 0, i32(p.in_h) - 1));
    return (row * p.in_w + u32(clamp(ix, 0, i32(p.in_w) - 1))) / EACH;
}
fn is_inside(iy: i32, ix: i32) -> bool { return (u32(iy) < p.in_h) & (u32(ix) < p.in_w); }

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
    var gy0 = ((i / blocks) % row_blocks) * RB;
    var n = i / (blocks * row_blocks);
    // Backward-data has much padding, and a row of taps that lies in it is left out where all lanes agree: so lanes go
    // through as many images as there are lanes before they go to other rows. (Through all images, as where that does not come
    // out even, other rows of one find its lines gone from a processor's cache.)
    if FLIP == 1u {
        let together = select(p.batch, LANES, p.batch % LANES == 0u);
        let turn = i / (blocks * together);
        n = turn / row_blocks * together + i / blocks % together;
        gy0 = turn % row_blocks * RB;
    }

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

    // Where this lane's weights begin. Channels past the end read the last one's. What is read next goes from turn to turn:
    // an address that is made anew for each read, llvmpipe makes lane by lane, divisions and all.
    // Backward-data at stride 1 reads weights as they lie, [c][m][ky][kx], each kernel from its end. Elsewhere they lie in the
    // order of turns (conv2d_pack.wgsl, or forward's own).
    var at: array<i32, WEIGHTS>;
    for (var v = 0u; v < WEIGHTS; v++) { // unroll
        let t = v * LANES + lane;
        let m = min(m0 + t / KW, p.out_c - 1u);
        at[v] = i32((phase * p.out_c + m) * p.in_c * KH * KH + KH - KW + t % KW);
        if TURNED == 1u { at[v] = i32((m + 1u) * KH * KH - 1u - t % KW); }
    }
    let row = select(i32(KH), -i32(KH), TURNED == 1u);
    let channel = select(i32(KH * KH), i32(p.out_c * KH * KH), TURNED == 1u);
    let ix0 = i32(gx0 * S + BESIDE) - pad_x;
    let iy0 = i32(gy0 * S) - pad_y;
    // The taps that this phase has, and that meet x for any lane: rows in the padding add nothing.
    let absent = i32(KH - (KERNEL - (py + p.padding) % SO + SO - 1u) / SO);
    let first = subgroupMin(clamp(-iy0 - i32(SHARED), absent, i32(KH)));
    let end = subgroupMax(clamp(i32(p.in_h) - iy0, 0, i32(KH)));
    for (var v = 0u; v < WEIGHTS; v++) { // unroll
        at[v] += first * row;
    }
    var sum: array<f32, MB * RB * XB>;
    for (var c = 0u; c < p.in_c; c++) {
        let plane = n * p.in_c + c;
        let top = iy0 + first;
        begin_channel(c);
        var line: array<f32, RB * SPAN>;
        for (var r = 0u; r < SHARED; r++) { // unroll
            begin_line(plane, top + i32(r), ix0, top);
            for (var s = 0u; s < READS; s++) { // unroll
                let read = values(plane, top + i32(r), ix0, s);
                for (var j = 0u; j < EACH; j++) { // unroll
                    line[(r + 1u) * SPAN + s * EACH + j] = part(read, j);
                }
            }
        }
        for (var ky = first; ky < end; ky++) {
            for (var r = 0u; r < SHARED; r++) { // unroll
                for (var s = 0u; s < SPAN; s++) { // unroll
                    line[r * SPAN + s] = line[(r + 1u) * SPAN + s];
                }
            }
            let iy = iy0 + ky + i32(SHARED);
            begin_line(plane, iy, ix0, top);
            for (var s = 0u; s < READS; s++) { // unroll
                let read = values(plane, iy, ix0, s);
                for (var j = 0u; j < EACH; j++) { // unroll
                    line[SHARED * SPAN + s * EACH + j] = part(read, j);
                }
            }
            var held: array<f32, WEIGHTS>;
            for (var v = 0u; v < WEIGHTS; v++) { // unroll
                held[v] = table_at(u32(at[v]));
                at[v] += row;
            }
            for (var m = 0u; m < MB; m++) { // unroll
                var w: array<f32, KW>;
                for (var kx = 0u; kx < KW; kx++) { // unroll
                    w[kx] = subgroupBroadcast(held[(m * KW + kx) / LANES], (m * KW + kx) % LANES);
                }
                for (var r = 0u; r < RB; r++) { // unroll
                    for (var s = 0u; s < SLID; s++) { // unroll
                        for (var kx = max(s + BESIDE, LAST) - LAST; kx < min(s + BESIDE + 1u, KW); kx++) { // unroll
                            sum[(m * RB + r) * XB + BESIDE + s - kx] += w[kx] * line[r * SPAN + s];
                        }
                    }
                    for (var j = 0u; j < PAIRED; j++) { // unroll
                        for (var kx = 0u; kx < KW; kx++) { // unroll
                            sum[(m * RB + r) * XB + j] += w[kx] * line[r * SPAN + j * S + kx];
                        }
                    }
                }
            }
        }
        for (var v = 0u; v < WEIGHTS; v++) { // unroll
            at[v] += channel - max(end - first, 0) * row;
        }
    }

    if index >= count { return; }
    // A store costs llvmpipe's compiler as much as twenty products, so channels take turns at one block of stores: after
    // each turn the sums move down by a channel. p.channels is MB, not as a constant, lest the loop be written out.
    let channels = min(p.out_c - m0, p.channels);
    for (var m = m0; m < m0 + channels; m++) {
        var constant = 0.0;
        if BIAS == 1u { constant = bias[m]; }
        for (var r = 0u; r < STRIPS; r++) { // unroll
            let gy = gy0 + r * TALL;
            let oy = gy * SO + py;
            if (gy + TALL <= p.grid_h) & (oy < p.out_h) {
                for (var s = 0u; s < STORES; s++) { // unroll
                    let gx = gx0 + s * EACH;
                    let ox = gx * SO + px;
                    if (gx < p.grid_w) & (ox < p.out_w) {
                        var above = Value();
                        var below = Value();
                        for (var j = 0u; j < EACH; j++) { // unroll
                            above = with_part(above, j, sum[r * TALL * XB + s * EACH + j]);
                            for (var b = 0u; b < BELOW; b++) { // unroll
                                below = with_part(below, j, sum[(r * TALL + 1u) * XB + s * EACH + j]);
                            }
                        }
                        if BIAS == 1u {
                            above += Value(constant);
                            below += Value(constant);
                        }
                        store(n * p.out_c + m, oy, ox, above, below);
                    }
                }
            }
        }
        for (var t = 0u; t < REST; t++) { // unroll
            sum[t] = sum[t + RB * XB];
        }
    }
}
