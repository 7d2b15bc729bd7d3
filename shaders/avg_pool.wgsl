// avg_pool: y = the mean of x over a KH x KW window at stride S; padding counts as zeros (PyTorch's
// default, count_include_pad). Global average pooling is a window as large as the plane.
// Backward: dx = the sum of dy / (KH KW) over the windows that cover the pixel.
// KH, KW, S: window and stride. Grid: linear over the outputs (forward) or inputs (backward), 64 a workgroup.

struct Params { planes: u32, in_h: u32, in_w: u32, out_h: u32, out_w: u32, padding: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * p.out_h * p.out_w { return; }
    let ox = i % p.out_w;
    let oy = (i / p.out_w) % p.out_h;
    let start = (i / (p.out_w * p.out_h)) * p.in_h * p.in_w;
    var sum = 0.0;
    for (var ky = 0u; ky < KH; ky++) {
        for (var kx = 0u; kx < KW; kx++) {
            // Unsigned wrap-around makes a negative place a huge one.
            let iy = oy * S + ky - p.padding;
            let ix = ox * S + kx - p.padding;
            if (iy < p.in_h) & (ix < p.in_w) { sum += x[start + iy * p.in_w + ix]; }
        }
    }
    y[i] = sum * (1.0 / f32(KH * KW));
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * p.in_h * p.in_w { return; }
    let ix = i % p.in_w;
    let iy = (i / p.in_w) % p.in_h;
    let start = (i / (p.in_w * p.in_h)) * p.out_h * p.out_w;
    // Windows oy with oy S <= iy + padding < oy S + KH. Here x is dy and y is dx.
    let last_y = min((iy + p.padding) / S, p.out_h - 1u);
    let last_x = min((ix + p.padding) / S, p.out_w - 1u);
    var sum = 0.0;
    for (var oy = (max(iy + p.padding + S, KH) - KH) / S; oy <= last_y; oy++) {
        for (var ox = (max(ix + p.padding + S, KW) - KW) / S; ox <= last_x; ox++) {
            sum += x[start + oy * p.out_w + ox];
        }
    }
    y[i] = sum * (1.0 / f32(KH * KW));
}
