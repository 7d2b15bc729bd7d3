// Put before a kernel that treats its arrays two values at a time, where they fall into twos and not into fours.
alias Value = vec2<f32>;
// Half as many, of two: the first.
alias Half = f32;
alias HalfBits = u32;
fn as_half(values: vec2<f32>) -> Half { return values.x; }
fn as_half_bits(values: vec2<u32>) -> HalfBits { return values.x; }
// The j-th of the values in a Value.
fn part(value: Value, j: u32) -> f32 { return value[j]; }
// A Value with another j-th value.
fn with_part(value: Value, j: u32, other: f32) -> Value {
    var changed = value;
    changed[j] = other;
    return changed;
}
