// normalize: y[n, c, i] = x[n, c, i] factor[c] + offset[c], with factor = 1 / std and offset = -mean / std.
// Its backward is the same kernel with offsets of zero.
// Value is f32 or vec4<f32>; needs scalar.wgsl or vec4.wgsl before it. `count` and INNER, a plane's length, count
// Values; INNER and CHANNELS are constants, because a software adapter divides by them lane by lane where they are not.
// Grid: linear over count, 64 invocations a workgroup.

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read> factor: array<f32>;
@group(0) @binding(3) var<storage, read> offset: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<Value>;

@compute @workgroup_size(64)
fn normalize_channels(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                      @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let c = (i / INNER) % CHANNELS;
    y[i] = x[i] * factor[c] + offset[c];
}
