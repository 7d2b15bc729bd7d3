// max_pool_pairs: max_pool.wgsl's windows of 2 x 2 that tile the plane without rest, two neighbours to an invocation.
//
//   y[plane, oy, ox] = max of x[plane, 2 oy + (0, 1), 2 ox + (0, 1)], and the winner's place in its plane
//
// The pair's pixels are two vectors of four, its results one of two: a software adapter reads and writes those for little
// more than single values. The same results to the bit as max_pool.wgsl's, NaN and ReLU (RELU = 1) included.
// Needs max_of_four.wgsl before it. IN_W is a multiple of four; IN_W, OUT_H and OUT_W are constants.
// Grid: linear over half of the outputs, 64 a workgroup.

struct Params { planes: u32, padding: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> winners: array<vec2<u32>>;

@group(0) @binding(1) var<storage, read> dy: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> won: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;

// The place of the left window's first pixel in its plane.
fn corner(pair: u32) -> u32 {
    const across = OUT_W / 2u;
    return (pair / across) % OUT_H * 2u * IN_W + pair % across * 4u;
}

// The vector of x that begins there.
fn vector(pair: u32, at: u32) -> u32 {
    return (pair / (OUT_W / 2u * OUT_H) * (2u * OUT_H * IN_W) + at) / 4u;
}

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * OUT_H * (OUT_W / 2u) { return; }
    let at = corner(i);
    let above = x[vector(i, at)];
    let below = x[vector(i, at + IN_W)];
    var best = largest(above.xz, above.yw, below.xz, below.yw, vec2(at, at + 2u), IN_W);
    if RELU == 1u { best = positive(best); }
    y[i] = best.value;
    winners[i] = best.place;
}

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.planes * OUT_H * (OUT_W / 2u) { return; }
    let both = dy[i].xxyy;
    let winner = won[i].xxyy;
    let at = corner(i);
    let places = at + vec4(0u, 1u, 2u, 3u);
    dx[vector(i, at)] = select(vec4<f32>(), both, places == winner);
    dx[vector(i, at + IN_W)] = select(vec4<f32>(), both, places + IN_W == winner);
}
