// max_of_four: what max_pool.wgsl finds in a window of 2 x 2, of two windows side by side.
//
// Put before a kernel that pools. One that has a single window passes it twice; the compiler drops the copy.

struct Largest { value: vec2<f32>, place: vec2<u32> }

// NaN by its bits: compilers may assume that v != v is false.
fn is_nan(v: vec2<f32>) -> vec2<bool> {
    return (bitcast<vec2<u32>>(v) & vec2(0x7fffffffu)) > vec2(0x7f800000u);
}

fn larger(best: Largest, value: vec2<f32>, place: vec2<u32>) -> Largest {
    let better = value > best.value | (is_nan(value) & !is_nan(best.value));
    return Largest(select(best.value, value, better), select(best.place, place, better));
}

// The largest of each window's pixels: a and b above, c and d below. `first` is where the windows' first pixels stand in their
// plane, whose rows have `width`. The first among equals wins, and NaN does.
fn largest(a: vec2<f32>, b: vec2<f32>, c: vec2<f32>, d: vec2<f32>, first: vec2<u32>, width: u32) -> Largest {
    var best = Largest(a, first);
    best = larger(best, b, first + 1u);
    best = larger(best, c, first + width);
    return larger(best, d, first + width + 1u);
}

// ReLU: where it lets nothing through, nothing has won. As choices: max(NaN, 0) may be 0, and a NaN lets its gradient through.
fn positive(best: Largest) -> Largest {
    const zero = vec2<f32>();
    return Largest(select(best.value, zero, best.value < zero), select(best.place, vec2(0xffffffffu), best.value <= zero));
}
