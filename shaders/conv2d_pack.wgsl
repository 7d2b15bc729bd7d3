// conv2d_pack: rearranges weights w[c][m][k][k] for backward-data, one small kernel for each phase:
//
//   packed[phase = (py, px)][m][c][ty][tx] = w[c][m][ky][kx],  ky = (py + padding) mod SO + SO (T - 1 - ty)
//
// and the same for x; taps beyond the kernel are zero. T = ceil(k / SO) taps a side.
// Grid: linear over SO SO out_c in_c T T, 64 invocations a workgroup.

struct Params { count: u32, in_c: u32, out_c: u32, kernel: u32, stride: u32, padding: u32, taps: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> packed: array<f32>;

fn tap(phase: u32, t: u32) -> u32 { return (phase + p.padding) % p.stride + p.stride * (p.taps - 1u - t); }

@compute @workgroup_size(64)
fn conv2d_pack(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
               @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let tx = i % p.taps;
    let ty = (i / p.taps) % p.taps;
    let c = (i / (p.taps * p.taps)) % p.in_c;
    let m = (i / (p.taps * p.taps * p.in_c)) % p.out_c;
    let phase = i / (p.taps * p.taps * p.in_c * p.out_c);
    let ky = tap(phase / p.stride, ty);
    let kx = tap(phase % p.stride, tx);
    var value = 0.0;
    if (ky < p.kernel) & (kx < p.kernel) { value = w[((c * p.out_c + m) * p.kernel + ky) * p.kernel + kx]; }
    packed[i] = value;
}
