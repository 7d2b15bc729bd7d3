// select: which of two pictures is kept, picture by picture.
//   judge:   chosen[n] = 1 where margin[n] < 0, margin[n] <= -confidence and distance[n] < best[n], which it then becomes;
//            0 elsewhere (what Carlini and Wagner 2017 keep: the nearest picture that is taken for another)
//   replace: into[n, i] = from[n, i] where chosen[n] is not 0
// `replace` needs scalar.wgsl or vec4.wgsl before it, as `judge` does for its being in the same file; `size`: values to
// a picture. Grid: linear over the pictures, or over the values, 64 invocations a workgroup.

struct Params { count: u32, size: u32, confidence: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> margin: array<f32>;
@group(0) @binding(2) var<storage, read> distance: array<f32>;
@group(0) @binding(3) var<storage, read_write> best: array<f32>;
@group(0) @binding(4) var<storage, read_write> judged: array<f32>;

@group(0) @binding(1) var<storage, read> chosen: array<f32>;
@group(0) @binding(2) var<storage, read> source: array<Value>;
@group(0) @binding(3) var<storage, read_write> into: array<Value>;

@compute @workgroup_size(64)
fn judge(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * 64u + lane;
    if n >= p.count { return; }
    let better = (margin[n] < 0.0) & (margin[n] <= -p.confidence) & (distance[n] < best[n]);
    judged[n] = select(0.0, 1.0, better);
    if better { best[n] = distance[n]; }
}

@compute @workgroup_size(64)
fn replace(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    if chosen[i / p.size] != 0.0 { into[i] = source[i]; }
}
