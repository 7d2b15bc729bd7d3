// conv2d_read_normalized: how conv2d_subgroup.wgsl reads pixels where it convolves what normalize.wgsl would make of them.
//
//   x[n, c, iy, ix] = pixels[n, c, iy, ix] factor[c] + offset[c], and zero outside
//
// What normalize.wgsl would write and this kernel read again. Put before conv2d_subgroup.wgsl, after vec2.wgsl or vec4.wgsl.

@group(0) @binding(1) var<storage, read> pixels: array<Stored>;
@group(0) @binding(6) var<storage, read> factor: array<f32>;
@group(0) @binding(7) var<storage, read> offset: array<f32>;

// The channel's.
var<private> times: f32;
var<private> plus: f32;

// Makes ready for a channel.
fn begin_channel(c: u32) {
    times = factor[c];
    plus = offset[c];
}

// Makes ready for line iy of a plane; the first of a channel is line `first`. Nothing is kept of a line.
fn begin_line(plane: u32, iy: i32, ix: i32, first: i32) {}

// What line iy of a plane has at ix + s EACH and beside it.
fn values(plane: u32, iy: i32, ix: i32, s: u32) -> Value {
    let at = ix + i32(s * EACH);
    return select(Value(), value_of(pixels[nearest(plane, iy, at)]) * times + plus, is_inside(iy, at));
}
