// conv2d_naive, first rung: a convolution and its two gradients just as their sums are written, one output an invocation.
//
//   forward:          y[n, m, oy, ox]  = sum over c, ky, kx of  w[m][c][ky][kx] x[n, c, S oy + ky - P, S ox + kx - P]
//                                        (+ bias[m]) (then ReLU)
//   backward_data:    dx[n, c, iy, ix] = sum over m, ky, kx of  w[m][c][ky][kx] dy[n, m, oy, ox]  (+ bias[c]) (then ReLU)
//                                        over the taps with S oy + ky - P = iy and S ox + kx - P = ix
//   backward_weights: dw[m][c][ky][kx] = sum over n, oy, ox of  dy[n, m, oy, ox] x[n, c, S oy + ky - P, S ox + kx - P]
//
// with 0 for x and dy outside of their planes. Two reads a product; at stride S only one tap in S S of backward_data
// meets anything, yet each is tested; and backward_weights has few, very long sums. conv2d.wgsl, conv2d_weights.wgsl
// and their subgroup forms do better on each of the three.
//
// K, S, P: kernel, stride, padding; LANES: workgroup; BIAS, RELU: 0 or 1. Grid: linear over the outputs.

struct Params {
    batch: u32, in_c: u32, in_h: u32, in_w: u32,        // of x and dx
    out_c: u32, out_h: u32, out_w: u32,                 // of y and dy
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;         // backward_data: dy
@group(0) @binding(2) var<storage, read> w: array<f32>;         // backward_weights: dy
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn finish(sum: f32, channel: u32) -> f32 {
    var value = sum;
    if BIAS == 1u { value += bias[channel]; }
    if RELU == 1u { value = select(value, 0.0, value < 0.0); }
    return value;
}

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * LANES + lane;
    if i >= p.batch * p.out_c * p.out_h * p.out_w { return; }
    let ox = i % p.out_w;
    let oy = i / p.out_w % p.out_h;
    let m = i / (p.out_w * p.out_h) % p.out_c;
    let n = i / (p.out_w * p.out_h * p.out_c);
    var sum = 0.0;
    for (var c = 0u; c < p.in_c; c++) {
        for (var ky = 0u; ky < K; ky++) {
            // Below zero is far above every extent.
            let iy = oy * S + ky - P;
            for (var kx = 0u; kx < K; kx++) {
                let ix = ox * S + kx - P;
                if (iy < p.in_h) & (ix < p.in_w) {
                    sum += w[((m * p.in_c + c) * K + ky) * K + kx] * x[((n * p.in_c + c) * p.in_h + iy) * p.in_w + ix];
                }
            }
        }
    }
    out[i] = finish(sum, m);
}

@compute @workgroup_size(LANES)
fn backward_data(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * LANES + lane;
    if i >= p.batch * p.in_c * p.in_h * p.in_w { return; }
    let ix = i % p.in_w;
    let iy = i / p.in_w % p.in_h;
    let c = i / (p.in_w * p.in_h) % p.in_c;
    let n = i / (p.in_w * p.in_h * p.in_c);
    var sum = 0.0;
    for (var m = 0u; m < p.out_c; m++) {
        for (var ky = 0u; ky < K; ky++) {
            let ty = iy + P - ky;
            let oy = ty / S;
            for (var kx = 0u; kx < K; kx++) {
                let tx = ix + P - kx;
                let ox = tx / S;
                if (ty % S == 0u) & (tx % S == 0u) & (oy < p.out_h) & (ox < p.out_w) {
                    sum += w[((m * p.in_c + c) * K + ky) * K + kx] * x[((n * p.out_c + m) * p.out_h + oy) * p.out_w + ox];
                }
            }
        }
    }
    out[i] = finish(sum, c);
}

@compute @workgroup_size(LANES)
fn backward_weights(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                    @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * LANES + lane;
    if i >= p.out_c * p.in_c * K * K { return; }
    let kx = i % K;
    let ky = i / K % K;
    let c = i / (K * K) % p.in_c;
    let m = i / (K * K * p.in_c);
    var sum = 0.0;
    for (var n = 0u; n < p.batch; n++) {
        for (var oy = 0u; oy < p.out_h; oy++) {
            let iy = oy * S + ky - P;
            for (var ox = 0u; ox < p.out_w; ox++) {
                let ix = ox * S + kx - P;
                if (iy < p.in_h) & (ix < p.in_w) {
                    sum += w[((n * p.out_c + m) * p.out_h + oy) * p.out_w + ox]
                        * x[((n * p.in_c + c) * p.in_h + iy) * p.in_w + ix];
                }
            }
        }
    }
    out[i] = sum;
}
