// wide: stored.wgsl for llvmpipe, by words of 64 bits.
//
// That driver reads lane by lane, and in each lane value by value, each behind a test of the buffer's end. Two values to a word
// are half as many tests, for a shift to all lanes.
alias Stored4 = vec2<u64>;
alias Stored2 = u64;
alias StoredBits2 = u64;
fn four(stored: Stored4) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(u32(stored.x), u32(stored.x >> 32u), u32(stored.y), u32(stored.y >> 32u)));
}
fn two_bits(stored: StoredBits2) -> vec2<u32> { return vec2(u32(stored), u32(stored >> 32u)); }
fn two(stored: Stored2) -> vec2<f32> { return bitcast<vec2<f32>>(two_bits(stored)); }
