// peak: the bits of the largest |x|, which order like whole numbers; beyond infinity lie those of NaN.
// It says by which power of two x fits the range of f16 best (coop_scale.wgsl). The maximum is the same in whatever
// order it is found, so an atomic one is, too: found in each workgroup first, then among them. It begins with zero.
// WHICH: element of `peaks`; EACH: values to an invocation. Grid: linear over count / EACH, 256 invocations a workgroup.

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> peaks: array<atomic<u32>>;

var<workgroup> top: atomic<u32>;

@compute @workgroup_size(256)
fn peak(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    if lane == 0u { atomicStore(&top, 0u); }
    workgroupBarrier();
    let start = (group.y * groups.x + group.x) * 256u * EACH + lane;
    var most = 0u;
    for (var e = 0u; e < EACH; e++) {
        let i = start + 256u * e;
        if i < p.count { most = max(most, x[i] & 0x7fffffffu); }
    }
    atomicMax(&top, most);
    workgroupBarrier();
    if lane == 0u { atomicMax(&peaks[WHICH], atomicLoad(&top)); }
}
