// Put before a kernel that treats its arrays two values at a time, where they fall into twos and not into fours.
alias Value = vec2<f32>;
alias Bits = vec2<u32>;
// Half as many, of two: the first.
alias Half = f32;
alias HalfBits = u32;
fn as_half(values: vec2<f32>) -> Half { return values.x; }
fn as_half_bits(values: vec2<u32>) -> HalfBits { return values.x; }
// Each of them twice, side by side.
fn twice(value: Half) -> Value { return Value(value); }
// Four bits of each, side by side, and which bits of such a row stand for the upper pixels of windows two wide.
fn fours(bits: HalfBits) -> u32 { return bits; }
const UPPER = Bits(1u, 2u);
// The first pixels of windows two wide that lie side by side, of the first of them.
fn corners(first: u32) -> HalfBits { return first; }
// The j-th of the values in a Value.
fn part(value: Value, j: u32) -> f32 { return value[j]; }
// A Value with another j-th value.
fn with_part(value: Value, j: u32, other: f32) -> Value {
    var changed = value;
    changed[j] = other;
    return changed;
}
// How a Value and a Half lie in memory, and what they are once read. Needs stored.wgsl before it.
alias Stored = Stored2;
alias StoredHalf = f32;
alias StoredHalfBits = u32;
fn value_of(stored: Stored) -> Value { return two(stored); }
fn half_of(stored: StoredHalf) -> Half { return stored; }
fn half_bits_of(stored: StoredHalfBits) -> HalfBits { return stored; }
