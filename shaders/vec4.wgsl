// Put before a kernel that treats its arrays four values at a time: fewer reads and writes, which is what elementwise
// kernels spend their time on.
alias Value = vec4<f32>;
alias Bits = vec4<u32>;
// The j-th of the values in a Value.
fn part(value: Value, j: u32) -> f32 { return value[j]; }
