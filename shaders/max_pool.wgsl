// max_pool: y[plane, oy, ox] = max of x over a K x K window at stride S, and the winner's place in its
// plane (the first one among equals, in row order; NaN wins, as in PyTorch). Padding never wins.
// RELU = 1: y = max(y, 0). ReLU before or after the maximum is the same; after it, it has K K times less to do. Where it lets
// nothing through, no pixel is the winner (0xffffffff), and that is all its backward pass needs.
// Backward gathers: each pixel asks the windows that cover it whether it was their winner.
// backward_tiles is for windows side by side (K = S, no padding): each window then writes its own pixels, and reads once in
// place of K K times. What is left of the plane beyond the last whole windows is written by windows cut short, which have no
// gradient (side_by_side.wgsl, which stands before this file).
// K, S: window and stride. IN_H, IN_W, OUT_H, OUT_W: constants, because a software adapter divides by them lane by lane
// where they are not. Grid: linear over the outputs (forward), windows, those cut short too (backward_tiles), or inputs
// (backward), 64 a workgroup.

struct Params { planes: u32, padding: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> winners: array<u32>;

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> won: array<u32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

// NaN by its bits: compilers may assume that v != v is false.
fn is_nan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * OUT_H * OUT_W { return; }
    let ox = i % OUT_W;
    let oy = (i / OUT_W) % OUT_H;
    let start = (i / (OUT_W * OUT_H)) * IN_H * IN_W;
    var best = 0.0;
    var place = 0xffffffffu;
    for (var ky = 0u; ky < K; ky++) {
        for (var kx = 0u; kx < K; kx++) {
            // Unsigned wrap-around makes a negative place a huge one.
            let iy = oy * S + ky - p.padding;
            let ix = ox * S + kx - p.padding;
            if (iy < IN_H) & (ix < IN_W) {
                let value = x[start + iy * IN_W + ix];
                if (place == 0xffffffffu) | (value > best) | (is_nan(value) & !is_nan(best)) {
                    best = value;
                    place = iy * IN_W + ix;
                }
            }
        }
    }
    if RELU == 1u {
        // As choices: max(NaN, 0) may be 0, and a NaN lets its gradient through, as in PyTorch.
        place = select(place, 0xffffffffu, best <= 0.0);
        best = select(best, 0.0, best < 0.0);
    }
    y[i] = best;
    winners[i] = place;
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * IN_H * IN_W { return; }
    let ix = i % IN_W;
    let iy = (i / IN_W) % IN_H;
    let start = (i / (IN_W * IN_H)) * OUT_H * OUT_W;
    let place = iy * IN_W + ix;
    // Windows oy with oy S <= iy + padding < oy S + K.
    let last_y = min((iy + p.padding) / S, OUT_H - 1u);
    let last_x = min((ix + p.padding) / S, OUT_W - 1u);
    let first_y = (max(iy + p.padding + S, K) - K) / S;
    let first_x = (max(ix + p.padding + S, K) - K) / S;
    var sum = 0.0;
    for (var oy = first_y; oy <= last_y; oy++) {
        for (var ox = first_x; ox <= last_x; ox++) {
            let o = start + oy * OUT_W + ox;
            if won[o] == place { sum += dy[o]; }
        }
    }
    dx[i] = sum;
}

@compute @workgroup_size(64)
fn backward_tiles(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                  @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * DOWN * ACROSS { return; }
    let window = beside(i);
    var gradient = 0.0;
    var winner = 0u;
    if window.has_gradient {
        gradient = dy[window.at];
        winner = won[window.at];
    }
    for (var ky = 0u; ky < K; ky++) {
        for (var kx = 0u; kx < K; kx++) {
            if is_there(window, ky, kx) {
                let place = (window.y + ky) * IN_W + window.x + kx;
                dx[(window.row + ky) * IN_W + window.x + kx] = select(0.0, gradient, place == winner);
            }
        }
    }
}
