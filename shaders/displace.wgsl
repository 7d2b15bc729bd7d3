// displace: what moves each picture n of a batch along a direction of its own, by a length of its own.
//   along:    d  = x - x0 + step g / (sqrt(s[n]) + 1e-10)        s: the sum of squares of picture n's g
//   ball:     x' = clamp(x0 + d min(1, eps / sqrt(s[n])), 0, 1)  s: the sum of squares of picture n's d
//   by:       x' = clamp(x + s[n] d, 0, 1)
//   momentum: d  = decay m + g size / s[n]                       s: the sum of |g| of picture n; 0 adds nothing
// (L2: Madry et al. 2018; by: Moosavi-Dezfooli et al. 2016; momentum: Dong et al. 2018.)
// A gradient that is not finite, or whose squares overflow, goes through as the pixel: it must be seen, not pass for
// "no perturbation". Needs scalar.wgsl or vec4.wgsl before it; `size`: values to a picture.
// Grid: linear over the values, 64 invocations a workgroup.

struct Params { count: u32, size: u32, factor: f32, elements: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<Value>;
@group(0) @binding(2) var<storage, read> b: array<Value>;
@group(0) @binding(3) var<storage, read> s: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<Value>;
@group(0) @binding(5) var<storage, read> x0: array<Value>;

// By the bits: WGSL lets a compiler assume that no value is NaN or infinite.
fn is_finite(value: f32) -> bool { return (bitcast<u32>(value) & 0x7fffffffu) < 0x7f800000u; }

fn pixel(value: Value) -> Value {
    let size = bitcast<Bits>(value) & Bits(0x7fffffffu);
    return select(clamp(value, Value(0.0), Value(1.0)), value, size >= Bits(0x7f800000u));
}

@compute @workgroup_size(64)
fn along(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let squares = s[i / p.size];
    var d = a[i] - x0[i] + b[i] * (p.factor / (sqrt(squares) + 1e-10));
    if !is_finite(squares) { d = Value(squares); }
    out[i] = d;
}

@compute @workgroup_size(64)
fn ball(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let length = sqrt(s[i / p.size]);
    var share = 1.0;
    if length > p.factor { share = p.factor / length; }
    out[i] = select(pixel(a[i] + share * b[i]), b[i], !is_finite(length));
}

@compute @workgroup_size(64)
fn by(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    out[i] = pixel(a[i] + s[i / p.size] * b[i]);
}

@compute @workgroup_size(64)
fn momentum(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let sum = s[i / p.size];
    var d = p.factor * a[i];
    if sum != 0.0 { d += b[i] / (sum / p.elements); }
    if !is_finite(sum) { d = Value(sum); }
    out[i] = d;
}
