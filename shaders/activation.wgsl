// Activations y = f(x) and their backward passes dx = f'(x) dy.
// KIND: 0 ReLU, 1 leaky ReLU (slope p.slope), 2 sigmoid, 3 tanh, 4 GELU (the exact one, with erf).
// All but GELU have a derivative that can be read off the output, so `saved` is y for them and x for GELU.
// ReLU is written as a choice, here and in the fused stores: max(NaN, 0) may be 0, and a network that has
// diverged would look well.
// Value is f32 or vec4<f32>; needs scalar.wgsl or vec4.wgsl before it.
// Grid: linear over count values, 64 invocations a workgroup.

struct Params { count: u32, slope: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;

@group(0) @binding(1) var<storage, read> saved: array<Value>;
@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read_write> dx: array<Value>;

// erf by Abramowitz and Stegun 7.1.26 has errors of 1.5e-7, the size of f32's own rounding near 1.
fn erf(v: Value) -> Value {
    let t = 1.0 / (1.0 + 0.3275911 * abs(v));
    let series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return sign(v) * (1.0 - series * exp(-v * v));
}

// exp would overflow in the wrong branch, so each sign has its own formula.
fn sigmoid(v: Value) -> Value {
    let e = exp(-abs(v));
    return select(e, Value(1.0), v >= Value(0.0)) / (1.0 + e);
}

fn activate(v: Value) -> Value {
    if KIND == 0u { return select(v, Value(0.0), v < Value(0.0)); }
    if KIND == 1u { return select(p.slope * v, v, v > Value(0.0)); }
    if KIND == 2u { return sigmoid(v); }
    if KIND == 3u { return 2.0 * sigmoid(2.0 * v) - 1.0; }
    return 0.5 * v * (1.0 + erf(v * 0.70710678));
}

// The derivative, from y (or from x for GELU).
fn slope(s: Value) -> Value {
    // So that a NaN lets its gradient through, as in PyTorch.
    if KIND == 0u { return select(Value(1.0), Value(0.0), s <= Value(0.0)); }
    if KIND == 1u { return select(Value(p.slope), Value(1.0), s > Value(0.0)); }
    if KIND == 2u { return s * (1.0 - s); }
    if KIND == 3u { return 1.0 - s * s; }
    return 0.5 * (1.0 + erf(s * 0.70710678)) + s * 0.39894228 * exp(-0.5 * s * s);
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i < p.count { y[i] = activate(x[i]); }
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i < p.count { dx[i] = slope(saved[i]) * dy[i]; }
}
