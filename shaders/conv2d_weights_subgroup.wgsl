// conv2d_weights_subgroup: conv2d_weights.wgsl's sum with the output's gradient held by the lanes of one subgroup.
//
//   partial[split][m][c][ky][kx] = sum over n in the split, oy, ox of
//       dy[n, m, oy, ox] x[n, c, S oy + ky - padding, S ox + kx - padding]
//
// All lanes need the same MB x XB values of dy. Lane l reads values l, l + LANES, ... of them, and a broadcast hands
// each to all lanes: one read in place of LANES (see conv2d_subgroup.wgsl).
//
// Going along a row, the last KEPT of a block's columns of x are the next one's first: they stay, and only the others are
// read. With five taps, stride 1 and four positions that is four values a block, not eight:
//
//     block         [ 0 1 2 3 4 5 6 7 ]
//     next block            [ 4 5 6 7 8 9 10 11 ]
//
// Needs scalar.wgsl or vec4.wgsl before it: EACH is how many values a read brings, 1 or 4. By fours where the stride is 1
// and rows of x, padding, KEPT and XB are multiples of four.
// A workgroup is one subgroup: LANES is the adapter's subgroup size. One invocation: MB channels m x all KW taps of
// CB neighbouring rows (c, ky), in registers.
// KH, KW, S, SPAN, TAPS, MB, CB, XB: as in conv2d_weights.wgsl; KEPT = max(KW - S, 0) columns, AT_FIRST = KEPT / EACH;
// READS = (SPAN - KEPT) / EACH; HELD = ceil(MB XB / EACH / LANES); REST = (CB MB - 1) KW.
// Grid: x = ceil(in_c KH / (CB LANES)), y = splits, z = ceil(out_c / MB).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    padding: u32, images: u32,          // images a split
    turns: u32,
}
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;
@group(0) @binding(2) var<storage, read> dy: array<Stored>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

// x at column ix of the row that begins at `start`, and what else lies in the same Value; zero outside.
fn padded(start: u32, inside: bool, ix: i32) -> Value {
    let read = value_of(x[(start + u32(clamp(ix, 0, i32(p.in_w) - 1))) / EACH]);
    return select(Value(), read, inside & (u32(ix) < p.in_w));
}

@compute @workgroup_size(LANES)
fn conv2d_weights(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    p = given;
    let index = (group.x * LANES + lane) * CB;
    let rows = p.in_c * KH;
    let m0 = group.z * MB;
    // Channel plane and place in the row of the values that this lane reads.
    var plane: array<u32, HELD>;
    var place: array<u32, HELD>;
    for (var v = 0u; v < HELD; v++) { // unroll
        let t = (v * LANES + lane) * EACH;
        plane[v] = min(m0 + t / XB, p.out_c - 1u) * p.out_h * p.out_w;
        place[v] = t % XB;
    }

    var sum: array<f32, TAPS>;
    // Here and not where it is filled, so that nothing makes it zero there: naga 30 gives the functions that make zeros one
    // name for arrays of f32 and of Value, which Direct3D's compiler refuses.
    var g: array<Value, HELD>;
    let last = min((group.y + 1u) * p.images, p.batch);
    for (var n = group.y * p.images; n < last; n++) {
        for (var oy = 0u; oy < p.out_h; oy++) {
            let dy_row = n * p.out_c * p.out_h * p.out_w + oy * p.out_w;
            var start: array<u32, CB>;
            var inside: array<bool, CB>;
            var line: array<f32, CB * SPAN>;
            for (var b = 0u; b < CB; b++) { // unroll
                let i = min(index + b, rows - 1u);
                let iy = i32(oy * S + i % KH) - i32(p.padding);
                inside[b] = u32(iy) < p.in_h;
                start[b] = ((n * p.in_c + i / KH) * p.in_h + u32(clamp(iy, 0, i32(p.in_h) - 1))) * p.in_w;
                for (var s = 0u; s < AT_FIRST; s++) { // unroll
                    let read = padded(start[b], inside[b], i32(s * EACH) - i32(p.padding));
                    for (var j = 0u; j < EACH; j++) { // unroll
                        line[b * SPAN + XB * S + s * EACH + j] = part(read, j);
                    }
                }
            }
            for (var ox0 = 0u; ox0 < p.out_w; ox0 += XB) {
                for (var v = 0u; v < HELD; v++) { // unroll
                    let ox = ox0 + place[v];
                    let value = value_of(dy[(dy_row + plane[v] + min(ox, p.out_w - 1u)) / EACH]);
                    g[v] = select(Value(), value, ox < p.out_w);
                }
                let ix0 = i32(ox0 * S + KEPT) - i32(p.padding);
                for (var b = 0u; b < CB; b++) { // unroll
                    for (var s = 0u; s < KEPT; s++) { // unroll
                        line[b * SPAN + s] = line[b * SPAN + XB * S + s];
                    }
                    for (var s = 0u; s < READS; s++) { // unroll
                        let read = padded(start[b], inside[b], ix0 + i32(s * EACH));
                        for (var j = 0u; j < EACH; j++) { // unroll
                            line[b * SPAN + KEPT + s * EACH + j] = part(read, j);
                        }
                    }
                    for (var m = 0u; m < MB; m++) { // unroll
                        for (var j = 0u; j < XB; j++) { // unroll
                            let t = m * XB + j;
                            let d = subgroupBroadcast(part(g[t / EACH / LANES], t % EACH), t / EACH % LANES);
                            for (var kx = 0u; kx < KW; kx++) { // unroll
                                sum[(b * MB + m) * KW + kx] += d * line[b * SPAN + j * S + kx];
                            }
                        }
                    }
                }
            }
        }
    }
    // Rows of taps take turns at one row of stores, as channels do in conv2d_subgroup.wgsl. p.turns is CB MB.
    for (var t = 0u; t < p.turns; t++) {
        let row = index + t / MB;
        let m = m0 + t % MB;
        if (row < rows) & (m < p.out_c) {
            let out = ((group.y * p.out_c + m) * rows + row) * KW;
            for (var kx = 0u; kx < KW; kx++) { // unroll
                partial[out + kx] = sum[kx];
            }
        }
        for (var i = 0u; i < REST; i++) { // unroll
            sum[i] = sum[i + KW];
        }
    }
}
