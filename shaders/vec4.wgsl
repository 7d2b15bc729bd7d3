// Put before a kernel that treats its arrays four values at a time: fewer reads and writes, which is what elementwise
// kernels spend their time on.
alias Value = vec4<f32>;
alias Bits = vec4<u32>;
