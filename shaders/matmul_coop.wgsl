// matmul_coop: C[m, n] = sum over k of A[m, k] B[k, n] (+ bias[n]) (then ReLU), by cooperative matrices (tensor cores).
// A and B are rounded to f16 on the way to workgroup memory, products are exact, and sums are f32.
//
// All lanes of a subgroup hold one T x T matrix together, and one instruction multiplies two of them and adds to a third.
// A workgroup has 4 T x 4 T elements of C in four blocks, a subgroup a block, 2 x 2 matrices:
//
//          n: | block 0 | block 1 |        For every 2 T values of k: fetch 4 T x 2 T of A and 2 T x 4 T of B, barrier,
//        m    |  C0 C1  |         |        then two steps of two loads of A, two of B and four multiply-adds.
//             |  C2 C3  |         |
//             |---------+---------|        A block more than there are subgroups (where they are larger than the
//             | block 2 | block 3 |        smallest that the adapter has) waits for another round.
//
// Works for every shape: A and B are read through strides, lanes running along what is contiguous (FLIP_A, FLIP_B: the
// operand lies transposed); what lies past an edge counts as zero, and sums go to C through workgroup memory, where the
// store can be guarded. Matrices are loaded from multiples of 16 bytes, so everything in workgroup memory is a multiple of
// that. A line of a tile has 8 values more than it need have, so that its rows lie in different banks.
//
// T: of coop8.wgsl or coop16.wgsl; LANES, SUBGROUPS: invocations of a workgroup, and most subgroups that these can be;
// BIAS, RELU: 0 or 1. Grid: x = ceil(n / (4 T)), y = ceil(m / (4 T)).

struct Params {
    m: u32, n: u32, k: u32,
    a_row: u32, a_column: u32,      // A[m, k] = a[m a_row + k a_column]
    b_row: u32, b_column: u32,      // B[k, n] = b[k b_row + n b_column]
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> peaks: array<u32>;
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

const A_LINE: u32 = 2u * T + 8u;
const B_LINE: u32 = 4u * T + 8u;
var<workgroup> a_tile: array<f16, 4u * T * A_LINE>;
var<workgroup> b_tile: array<f16, 2u * T * B_LINE>;
var<workgroup> staged: array<f32, SUBGROUPS * T * T>;
var<workgroup> subgroups: vec4<u32>;

@compute @workgroup_size(LANES)
fn matmul_coop(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32,
               @builtin(subgroup_id) subgroup: u32, @builtin(num_subgroups) count: u32) {
    let row0 = group.y * 4u * T;
    let column0 = group.x * 4u * T;
    let a_scale = scale(peaks[0]);
    let b_scale = scale(peaks[1]);
    // From workgroup memory it is known to be the same for all.
    if lane == 0u { subgroups = vec4<u32>(count); }
    workgroupBarrier();

    for (var block0 = 0u; block0 < 4u; block0 += subgroups.x) {
        // More subgroups than blocks: the last ones compute what nobody stores.
        let block = min(block0 + subgroup, 3u);
        let row = block / 2u * 2u * T;
        let column = block % 2u * 2u * T;
        var sum: array<Sum, 4>;
        for (var k0 = 0u; k0 < p.k; k0 += 2u * T) {
            for (var i = lane; i < 8u * T * T; i += LANES) {
                var at = vec2<u32>(i / (2u * T), i % (2u * T));
                if FLIP_A == 1u { at = vec2<u32>(i % (4u * T), i / (4u * T)); }
                var value = 0.0;
                if (row0 + at.x < p.m) & (k0 + at.y < p.k) { value = a[(row0 + at.x) * p.a_row + (k0 + at.y) * p.a_column]; }
                a_tile[at.x * A_LINE + at.y] = f16(value * a_scale);
            }
            for (var i = lane; i < 8u * T * T; i += LANES) {
                var at = vec2<u32>(i / (4u * T), i % (4u * T));
                if FLIP_B == 1u { at = vec2<u32>(i % (2u * T), i / (2u * T)); }
                var value = 0.0;
                if (k0 + at.x < p.k) & (column0 + at.y < p.n) {
                    value = b[(k0 + at.x) * p.b_row + (column0 + at.y) * p.b_column];
                }
                b_tile[at.x * B_LINE + at.y] = f16(value * b_scale);
            }
            workgroupBarrier();
            for (var step = 0u; step < 2u; step++) { // unroll
                let upper = coopLoadT<Left>(&a_tile[row * A_LINE + step * T], A_LINE);
                let lower = coopLoadT<Left>(&a_tile[(row + T) * A_LINE + step * T], A_LINE);
                let left = coopLoadT<Right>(&b_tile[step * T * B_LINE + column], B_LINE);
                let right = coopLoadT<Right>(&b_tile[step * T * B_LINE + column + T], B_LINE);
                sum[0] = coopMultiplyAdd(upper, left, sum[0]);
                sum[1] = coopMultiplyAdd(upper, right, sum[1]);
                sum[2] = coopMultiplyAdd(lower, left, sum[2]);
                sum[3] = coopMultiplyAdd(lower, right, sum[3]);
            }
            workgroupBarrier();
        }

        for (var s = 0u; s < 4u; s++) { // unroll
            coopStoreT(sum[s], &staged[subgroup * T * T], T);
            workgroupBarrier();
            for (var i = lane; i < subgroups.x * T * T; i += LANES) {
                let own = block0 + i / (T * T);
                let m = row0 + (own / 2u * 2u + s / 2u) * T + i / T % T;
                let n = column0 + (own % 2u * 2u + s % 2u) * T + i % T;
                if (own < 4u) & (m < p.m) & (n < p.n) {
                    var value = unscaled(staged[i], peaks[0], peaks[1]);
                    if BIAS == 1u { value += bias[n]; }
                    if RELU == 1u { value = select(value, 0.0, value < 0.0); }
                    c[m * p.n + n] = value;
                }
            }
            workgroupBarrier();
        }
    }
}
