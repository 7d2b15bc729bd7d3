// margin: r[n] = s (z[n, label] - the largest of the other classes' z[n, c]): how far a row is from being taken for another
// class (s = 1), or from being taken for its label (s = -1): Carlini and Wagner 2017, their f6 without the maximum.
// Backward: dz = s dr at the label, -s dr at the first of the largest others, 0 elsewhere.
// Grid: linear over the rows, 64 invocations a workgroup; one invocation a row.

struct Params { rows: u32, classes: u32, sign: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> margin: array<f32>;

@group(0) @binding(3) var<storage, read> dmargin: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;

// The class of the largest logit but the label's.
fn rival(start: u32, label: u32) -> u32 {
    var best = select(0u, 1u, label == 0u);
    for (var c = best + 1u; c < p.classes; c++) {
        if (c != label) & (logits[start + c] > logits[start + best]) { best = c; }
    }
    return best;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * 64u + lane;
    if n >= p.rows { return; }
    let start = n * p.classes;
    margin[n] = p.sign * (logits[start + labels[n]] - logits[start + rival(start, labels[n])]);
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let n = (group.y * groups.x + group.x) * 64u + lane;
    if n >= p.rows { return; }
    let start = n * p.classes;
    let best = rival(start, labels[n]);
    let slope = p.sign * dmargin[n];
    for (var c = 0u; c < p.classes; c++) {
        dlogits[start + c] = select(select(0.0, -slope, c == best), slope, c == labels[n]);
    }
}
