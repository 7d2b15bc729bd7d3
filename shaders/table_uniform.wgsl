// table_uniform: table_storage.wgsl's array in a uniform buffer, of 64 KiB at the most.
//
// For llvmpipe, which reads a storage buffer lane by lane in a loop, behind tests of mask and end, and a uniform buffer without
// one, in a sixth of the instructions. (GPUs are quick there where all lanes read one address, which here none does.)
// QUADS: numbers by fours, the last four perhaps not all there.

@group(0) @binding(2) var<uniform> table: array<vec4<f32>, QUADS>;

fn table_at(i: u32) -> f32 { return table[i / 4u][i % 4u]; }
