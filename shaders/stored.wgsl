// stored: how vectors lie in memory, and what they are once read.
//
// Put before a kernel that reads many. llvmpipe is given wide.wgsl in its place.
alias Stored4 = vec4<f32>;
alias Stored2 = vec2<f32>;
alias StoredBits2 = vec2<u32>;
fn four(stored: Stored4) -> vec4<f32> { return stored; }
fn two(stored: Stored2) -> vec2<f32> { return stored; }
fn two_bits(stored: StoredBits2) -> vec2<u32> { return stored; }
