// avg_pool: y = the mean of x over a KH x KW window at stride S; padding counts as zeros (PyTorch's
// default, count_include_pad). Global average pooling is a window as large as the plane.
// Backward: dx = the sum of dy / (KH KW) over the windows that cover the pixel.
// backward_tiles is for windows side by side (KH = KW = S, no padding), as in max_pool.wgsl: each window then writes its own
// pixels, and reads once in place of KH KW times; windows cut short by the plane's end have no gradient.
// Needs side_by_side.wgsl before it.
// KH, KW, S: window and stride. IN_H, IN_W, OUT_H, OUT_W: constants, because a software adapter divides by them lane by lane
// where they are not. Grid: linear over the outputs (forward), windows, those cut short too (backward_tiles), or inputs
// (backward), 64 a workgroup.

struct Params { planes: u32, padding: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * OUT_H * OUT_W { return; }
    let ox = i % OUT_W;
    let oy = (i / OUT_W) % OUT_H;
    let start = (i / (OUT_W * OUT_H)) * IN_H * IN_W;
    var sum = 0.0;
    for (var ky = 0u; ky < KH; ky++) {
        for (var kx = 0u; kx < KW; kx++) {
            // Unsigned wrap-around makes a negative place a huge one.
            let iy = oy * S + ky - p.padding;
            let ix = ox * S + kx - p.padding;
            if (iy < IN_H) & (ix < IN_W) { sum += x[start + iy * IN_W + ix]; }
        }
    }
    y[i] = sum * (1.0 / f32(KH * KW));
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * IN_H * IN_W { return; }
    let ix = i % IN_W;
    let iy = (i / IN_W) % IN_H;
    let start = (i / (IN_W * IN_H)) * OUT_H * OUT_W;
    // Windows oy with oy S <= iy + padding < oy S + KH.
    let last_y = min((iy + p.padding) / S, OUT_H - 1u);
    let last_x = min((ix + p.padding) / S, OUT_W - 1u);
    let first_x = (max(ix + p.padding + S, KW) - KW) / S;
    var sum = 0.0;
    for (var oy = (max(iy + p.padding + S, KH) - KH) / S; oy <= last_y; oy++) {
        for (var ox = first_x; ox <= last_x; ox++) {
            sum += dy[start + oy * OUT_W + ox];
        }
    }
    dx[i] = sum * (1.0 / f32(KH * KW));
}

@compute @workgroup_size(64)
fn backward_tiles(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * DOWN * ACROSS { return; }
    let window = beside(i);
    var gradient = 0.0;
    if window.has_gradient { gradient = dy[window.at] * (1.0 / f32(KH * KW)); }
    for (var ky = 0u; ky < KH; ky++) {
        for (var kx = 0u; kx < KW; kx++) {
            if is_there(window, ky, kx) { dx[(window.row + ky) * IN_W + window.x + kx] = gradient; }
        }
    }
}
