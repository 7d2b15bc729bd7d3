// ceiling: what an adapter can do at the most, for the benchmark's rooflines.
//
// multiply_add: CHAINS independent chains s = s * factor + addend in registers; nothing is read inside, so that only
//     arithmetic counts; 16 links of each chain are written out. FUSED = 1 for fma(). 32 CHAINS rounds operations an
//     invocation, four times as many where Value is vec4<f32>.
// copy: to[i] = from[i], four values an invocation.
// Needs scalar.wgsl or vec4.wgsl before it.
// Grid: linear, 64 invocations a workgroup.

struct Params { count: u32, rounds: u32, factor: f32, addend: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4<f32>>;

fn next(s: Value, factor: Value, addend: Value) -> Value {
    if FUSED == 1u { return fma(s, factor, addend); }
    return s * factor + addend;
}

@compute @workgroup_size(64)
fn multiply_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    let factor = Value(p.factor);
    let addend = Value(p.addend);
    var chain: array<Value, CHAINS>;
    for (var c = 0u; c < CHAINS; c++) { // unroll
        chain[c] = Value(f32(i + c));
    }
    for (var r = 0u; r < p.rounds; r++) {
        for (var link = 0u; link < 16u; link++) { // unroll
            for (var c = 0u; c < CHAINS; c++) { // unroll
                chain[c] = next(chain[c], factor, addend);
            }
        }
    }
    // All chains are needed, so none can be left out.
    var total = Value(0.0);
    for (var c = 0u; c < CHAINS; c++) { // unroll
        total += chain[c];
    }
    if i < p.count { sums[i] = vec4<f32>(total); }
}

@group(0) @binding(1) var<storage, read> from_values: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> to_values: array<vec4<f32>>;

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i < p.count { to_values[i] = from_values[i]; }
}
