// conv2d_read: how conv2d_subgroup.wgsl reads x where that is what it convolves.
//
// Put before it, after scalar.wgsl, vec2.wgsl or vec4.wgsl.

@group(0) @binding(1) var<storage, read> x: array<Stored>;

// Makes ready for a channel: nothing is kept of one.
fn begin_channel(c: u32) {}

// Makes ready for line iy of a plane; the first of a channel is line `first`. Nothing is kept of one.
fn begin_line(plane: u32, iy: i32, ix: i32, first: i32) {}

// What line iy of a plane has at ix + s EACH and beside it; zero outside.
fn values(plane: u32, iy: i32, ix: i32, s: u32) -> Value {
    let at = ix + i32(s * EACH);
    return select(Value(), value_of(x[nearest(plane, iy, at)]), is_inside(iy, at));
}
