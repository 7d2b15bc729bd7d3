// table_storage: an array of numbers at binding 2 that lanes read at addresses of their own, of any length.
//
// In a storage buffer. Put before a kernel that reads one.

@group(0) @binding(2) var<storage, read> table: array<f32>;

fn table_at(i: u32) -> f32 { return table[i]; }
