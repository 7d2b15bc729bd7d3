// max_of_four: what max_pool.wgsl finds in a window of 2 x 2, of two windows side by side.
//
// Put before a kernel that pools; after what it needs of one window alone, the compiler drops the rest.

struct Largest { value: vec2<f32>, place: vec2<u32> }

// NaN by its bits: compilers may assume that v != v is false.
fn is_nan(v: vec2<f32>) -> vec2<bool> {
    return (bitcast<vec2<u32>>(v) & vec2(0x7fffffffu)) > vec2(0x7f800000u);
}

fn larger(best: Largest, value: vec2<f32>, place: vec2<u32>) -> Largest {
    let better = value > best.value | (is_nan(value) & !is_nan(best.value));
    return Largest(select(best.value, value, better), select(best.place, place, better));
}

// The largest of each window's pixels, in row order: (left, right) above, then below. `first` is where the windows' first pixels
// stand in their plane, whose rows have `width`. The first among equals wins, and NaN does.
fn largest(above: array<vec2<f32>, 2>, below: array<vec2<f32>, 2>, first: vec2<u32>, width: u32) -> Largest {
    var best = Largest(above[0], first);
    best = larger(best, above[1], first + 1u);
    best = larger(best, below[0], first + width);
    return larger(best, below[1], first + width + 1u);
}

// ReLU. As a choice: max(NaN, 0) may be 0.
fn positive(value: vec2<f32>) -> vec2<f32> { return select(value, vec2<f32>(), value < vec2<f32>()); }
