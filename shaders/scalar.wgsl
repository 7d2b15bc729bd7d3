// Put before a kernel that treats its arrays one value at a time, where they do not fall into fours.
alias Value = f32;
alias Bits = u32;
// The j-th of the values in a Value.
fn part(value: Value, j: u32) -> f32 { return value; }
// A Value with another j-th value.
fn with_part(value: Value, j: u32, other: f32) -> Value { return other; }
// How a Value lies in memory, and what it is once read.
alias Stored = f32;
fn value_of(stored: Stored) -> Value { return stored; }
