// conv2d_weights_lines: conv2d_weights_subgroup.wgsl's sum where one invocation has all taps of an input channel.
//
//   partial[split][m][c][ky][kx] = sum over n in the split, ox block, oy, ox in the block of
//       dy[n, m, oy, ox] x[n, c, S oy + ky - padding, S ox + kx - padding]
//
// KH lines of x meet one row of dy. Going down a column of blocks, KH - S of them were there for the row before: they
// move up, which costs no instruction, and only S new ones are read.
//
//     oy      [ line 0 | line 1 | line 2 ]              three taps, stride 1: one line of x for each row of dy
//     oy + 1           [ line 1 | line 2 | line 3 ]     where conv2d_weights_subgroup.wgsl reads three
//
// Needs scalar.wgsl or vec4.wgsl before it: EACH is how many values of dy a read brings. Four where its rows and XB are
// multiples of four.
// A workgroup is one subgroup: LANES is the adapter's subgroup size, and lanes run over c. One invocation: MB channels m
// x all taps of a channel c, in registers; lanes hold dy as in conv2d_weights_subgroup.wgsl.
// KH, KW, S: convolution; KEPT = max(KH - S, 0) lines, FRESH = KH - KEPT; SPAN = (XB - 1) S + KW; MB, XB, LANES: tile;
// HELD = ceil(MB XB / EACH / LANES); TAPS = MB KH KW; REST = TAPS - KH KW.
// Grid: x = ceil(in_c / LANES), y = splits, z = ceil(out_c / MB).

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,
    out_c: u32, out_h: u32, out_w: u32,
    padding: u32, images: u32,          // images a split
    turns: u32,
}
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<Stored>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

// x at (iy, ix) of the plane that begins at `plane`; zero outside.
fn padded(plane: u32, iy: i32, ix: i32) -> f32 {
    let clamped = plane + u32(clamp(iy, 0, i32(p.in_h) - 1)) * p.in_w + u32(clamp(ix, 0, i32(p.in_w) - 1));
    return select(0.0, x[clamped], (u32(iy) < p.in_h) & (u32(ix) < p.in_w));
}

@compute @workgroup_size(LANES)
fn conv2d_weights(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    p = given;
    let c = group.x * LANES + lane;
    let m0 = group.z * MB;
    // Channel plane and place in the row of what this lane reads.
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
        let x_plane = (n * p.in_c + min(c, p.in_c - 1u)) * p.in_h * p.in_w;
        for (var ox0 = 0u; ox0 < p.out_w; ox0 += XB) {
            let ix0 = i32(ox0 * S) - i32(p.padding);
            var line: array<f32, KH * SPAN>;
            for (var r = 0u; r < KEPT; r++) { // unroll
                for (var s = 0u; s < SPAN; s++) { // unroll
                    line[(r + S) * SPAN + s] = padded(x_plane, i32(r) - i32(p.padding), ix0 + i32(s));
                }
            }
            for (var oy = 0u; oy < p.out_h; oy++) {
                for (var r = 0u; r < KEPT; r++) { // unroll
                    for (var s = 0u; s < SPAN; s++) { // unroll
                        line[r * SPAN + s] = line[(r + S) * SPAN + s];
                    }
                }
                let iy0 = i32(oy * S + KEPT) - i32(p.padding);
                for (var r = 0u; r < FRESH; r++) { // unroll
                    for (var s = 0u; s < SPAN; s++) { // unroll
                        line[(KEPT + r) * SPAN + s] = padded(x_plane, iy0 + i32(r), ix0 + i32(s));
                    }
                }
                let dy_row = n * p.out_c * p.out_h * p.out_w + oy * p.out_w;
                for (var v = 0u; v < HELD; v++) { // unroll
                    let ox = ox0 + place[v];
                    let value = value_of(dy[(dy_row + plane[v] + min(ox, p.out_w - 1u)) / EACH]);
                    g[v] = select(Value(), value, ox < p.out_w);
                }
                for (var m = 0u; m < MB; m++) { // unroll
                    for (var j = 0u; j < XB; j++) { // unroll
                        let t = m * XB + j;
                        let d = subgroupBroadcast(part(g[t / EACH / LANES], t % EACH), t / EACH % LANES);
                        for (var ky = 0u; ky < KH; ky++) { // unroll
                            for (var kx = 0u; kx < KW; kx++) { // unroll
                                sum[(m * KH + ky) * KW + kx] += d * line[ky * SPAN + j * S + kx];
                            }
                        }
                    }
                }
            }
        }
    }
    // Channels take turns at one block of stores, as in conv2d_subgroup.wgsl. p.turns is MB.
    for (var t = 0u; t < p.turns; t++) {
        let m = m0 + t;
        if (c < p.in_c) & (m < p.out_c) {
            let out = ((group.y * p.out_c + m) * p.in_c + c) * KH * KW;
            for (var ky = 0u; ky < KH; ky++) { // unroll
                for (var kx = 0u; kx < KW; kx++) { // unroll
                    partial[out + ky * KW + kx] = sum[ky * KW + kx];
                }
            }
        }
        for (var i = 0u; i < REST; i++) { // unroll
            sum[i] = sum[i + KH * KW];
        }
    }
}
