// conv2d_read_unpooled: how conv2d_subgroup.wgsl reads the gradient of a convolution's output, of which a max-pooling of 2 x 2
// at stride 2 has kept a quarter.
//
//   x[plane, iy, ix] = dy[plane, iy / 2, ix / 2] where (iy, ix) won that window (pack_winners.wgsl), else 0
//
// What max_pool.wgsl's backward would write and this kernel read again. A row of windows is read once for the two lines that
// it serves. Put before conv2d_subgroup.wgsl, after vec2.wgsl or vec4.wgsl. SPAN / 2 windows meet a line, whose
// winners are KEPT = ceil(SPAN / 16) words. SHIFTED = 0 where blocks are whole rows, so that those begin with a word.

@group(0) @binding(1) var<storage, read> dy: array<StoredHalf>;
@group(0) @binding(5) var<storage, read> packed: array<u32>;

// Of the line's windows, from its first: their gradients, and four bits for where each winner stands.
var<private> gradient: array<Half, READS>;
var<private> won: array<u32, KEPT>;

// Makes ready for a channel: nothing is kept of one.
fn begin_channel(c: u32) {}

// Word k of those that row `row` of all planes has, if it is there.
fn word(row: u32, k: i32, is_row: bool) -> u32 {
    let count = (p.in_w / 2u + 7u) / 8u;
    return select(0u, packed[row * count + u32(clamp(k, 0, i32(count) - 1))], is_row & (u32(k) < count));
}

// Makes ready for line iy of a plane, at ix and beside it; the first of a channel is line `first`.
fn begin_line(plane: u32, iy: i32, ix: i32, first: i32) {
    let height = p.in_h / 2u;
    let width = p.in_w / 2u;
    // A loop for the sake of llvmpipe, which leaves one out where all lanes agree, but runs both sides of a choice.
    for (var done = select(iy & 1, 0, iy == first); done < 1; done++) {
        let row = plane * height + u32(clamp(iy >> 1u, 0, i32(height) - 1));
        let is_row = u32(iy >> 1u) < height;
        let across = ix >> 1u;
        for (var s = 0u; s < READS; s++) { // unroll
            let at = clamp(across + i32(s * EACH / 2u), 0, i32(width) - 1);
            gradient[s] = half_of(dy[(row * width + u32(at)) / (EACH / 2u)]);
        }
        var words: array<u32, KEPT + SHIFTED>;
        for (var k = 0u; k < KEPT + SHIFTED; k++) { // unroll
            words[k] = word(row, (across >> 3u) + i32(k), is_row);
        }
        let shift = 4u * u32(across & 7);
        for (var k = 0u; k < KEPT; k++) { // unroll
            won[k] = words[k];
            // By 32 in two steps, as no word is shifted by so much.
            if SHIFTED == 1u { won[k] = (words[k] >> shift) | ((words[k + SHIFTED] << 1u) << (31u - shift)); }
        }
    }
}

// What line iy has at ix + s EACH and beside it.
fn values(plane: u32, iy: i32, ix: i32, s: u32) -> Value {
    let window = s * EACH / 2u;
    let bits = Bits(won[window / 8u] >> (2u * u32(iy & 1))) & (UPPER << Bits(window % 8u * 4u));
    return select(Value(), twice(gradient[s]), bits != Bits());
}
