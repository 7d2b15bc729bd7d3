// conv2d_store_pooled: how conv2d_subgroup.wgsl ends where a max-pooling of 2 x 2 at stride 2 follows, then perhaps ReLU.
//
//   y[n, m, py, px] = max over (i, j) in {0, 1} x {0, 1} of out[n, m, 2 py + i, 2 px + j], and the winner's place in its plane
//
// The sums are in registers: what they pool to is a quarter of them, and nothing else is written. The same bits as
// max_pool.wgsl's of the convolution's output. Put before conv2d_subgroup.wgsl, after vec2.wgsl or vec4.wgsl and max_of_four.wgsl.

@group(0) @binding(4) var<storage, read_write> y: array<Half>;
@group(0) @binding(5) var<storage, read_write> winners: array<HalfBits>;

// Stores what the sums of two rows, bias included, from (oy, ox) of a plane on pool to. TALL = 2: both rows.
fn store(plane: u32, oy: u32, ox: u32, above: Value, below: Value) {
    // By twos it is one window, which stands here twice.
    const second = EACH - 2u;
    let corner = oy * p.out_w + ox;
    var best = largest(vec2(part(above, 0u), part(above, second)), vec2(part(above, 1u), part(above, second + 1u)),
                       vec2(part(below, 0u), part(below, second)), vec2(part(below, 1u), part(below, second + 1u)),
                       vec2(corner, corner + second), p.out_w);
    if RELU == 1u { best = positive(best); }
    let at = ((plane * (p.out_h / 2u) + oy / 2u) * (p.out_w / 2u) + ox / 2u) / (EACH / 2u);
    y[at] = as_half(best.value);
    winners[at] = as_half_bits(best.place);
}
