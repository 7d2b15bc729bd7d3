// Put before a kernel that treats its arrays two values at a time, where they fall into twos and not into fours.
alias Value = vec2<f32>;
// The j-th of the values in a Value.
fn part(value: Value, j: u32) -> f32 { return value[j]; }
// A Value with another j-th value.
fn with_part(value: Value, j: u32, other: f32) -> Value {
    var changed = value;
    changed[j] = other;
    return changed;
}
