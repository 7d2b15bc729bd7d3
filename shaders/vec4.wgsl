// Put before a kernel that treats its arrays four values at a time: fewer reads and writes, which is what elementwise
// kernels spend their time on.
alias Value = vec4<f32>;
alias Bits = vec4<u32>;
// Half as many, of two.
alias Half = vec2<f32>;
alias HalfBits = vec2<u32>;
fn as_half(values: vec2<f32>) -> Half { return values; }
fn as_half_bits(values: vec2<u32>) -> HalfBits { return values; }
// Each of them twice, side by side.
fn twice(values: Half) -> Value { return values.xxyy; }
// Four bits of each, side by side, and which bits of such a row stand for the upper pixels of windows two wide.
fn fours(bits: HalfBits) -> u32 { return bits.x | (bits.y << 4u); }
const UPPER = Bits(1u, 2u, 16u, 32u);
// The first pixels of windows two wide that lie side by side, of the first of them.
fn corners(first: u32) -> HalfBits { return HalfBits(first, first + 2u); }
// The j-th of the values in a Value.
fn part(value: Value, j: u32) -> f32 { return value[j]; }
// A Value with another j-th value.
fn with_part(value: Value, j: u32, other: f32) -> Value {
    var changed = value;
    changed[j] = other;
    return changed;
}
// How a Value and a Half lie in memory, and what they are once read. Needs stored.wgsl before it.
alias Stored = Stored4;
alias StoredHalf = Stored2;
alias StoredHalfBits = StoredBits2;
fn value_of(stored: Stored) -> Value { return four(stored); }
fn half_of(stored: StoredHalf) -> Half { return two(stored); }
fn half_bits_of(stored: StoredHalfBits) -> HalfBits { return two_bits(stored); }
