// Put before a kernel that reads f32 arrays as f16: the power of two that brings an array's largest |x|, whose bits `peak`
// are, to [1024, 2048). What is a 2^24-th of the largest value, or more, then keeps all of f16's 11 bits, whatever the
// array's own range: gradients are often smaller than what f16 can hold. Multiplying by a power of two rounds nothing.
// An array with infinity or NaN in it is taken as it is.

fn power(peak: u32) -> i32 {
    let exponent = i32(peak >> 23u);
    return select(clamp(137 - exponent, -126, 126), 0, exponent == 255);
}

// 2^exponent, from -126 to 126.
fn two_to(exponent: i32) -> f32 { return bitcast<f32>(u32(127 + exponent) << 23u); }

fn scale(peak: u32) -> f32 { return two_to(power(peak)); }

// A sum of products of two scaled arrays without their scales: in two steps of one size, so that a large and a small scale
// do not overflow where their product would not.
fn unscaled(sum: f32, a_peak: u32, b_peak: u32) -> f32 {
    let both = -power(a_peak) - power(b_peak);
    return sum * two_to(both / 2) * two_to(both - both / 2);
}
