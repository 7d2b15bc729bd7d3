// check_finite: counts[0] += how many x[i] are NaN, counts[1] += how many are infinite, for i in 0..count. By their
// bits: compilers may take it that floats are finite.
// Grid: linear over count, 64 invocations a workgroup.

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;

@compute @workgroup_size(64)
fn check_finite(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let size = x[i] & 0x7fffffffu;
    if size > 0x7f800000u { atomicAdd(&counts[0], 1u); }
    if size == 0x7f800000u { atomicAdd(&counts[1], 1u); }
}
