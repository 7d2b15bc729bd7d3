// pack_winners: where the winners of 2 x 2 windows stand (max_pool.wgsl), eight windows of a row to a word.
//
//   words[plane, oy, k] has bit 4 i + 2 dy + dx set where pixel (2 oy + dy, 2 (8 k + i) + dx) won window (oy, 8 k + i)
//
// Four bits a window, of which one is set; or none, where ReLU let nothing through, and past the row's end. For
// conv2d_read_unpooled.wgsl, which then reads one word where it would read eight.
// Needs vec2.wgsl or vec4.wgsl before it: READ = 1 or 2 winners are read at a time, of which OUT_W is a multiple; READS = 8 / READ.
// OUT_H, OUT_W: windows of a plane; WORDS = ceil(OUT_W / 8). IN_W: pixels of a plane's row. Constants all.
// Grid: linear over the words, 64 a workgroup.

struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> winners: array<StoredHalfBits>;
@group(0) @binding(2) var<storage, read_write> words: array<u32>;

@compute @workgroup_size(64)
fn pack_winners(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= p.count { return; }
    let row = i / WORDS;
    let first = i % WORDS * 8u;
    var word = 0u;
    for (var s = 0u; s < READS; s++) { // unroll
        let ox = first + s * READ;
        let corner = 2u * (row % OUT_H * IN_W + ox);
        let place = half_bits_of(winners[(row * OUT_W + min(ox, OUT_W - READ)) / READ]) - corners(corner);
        let bit = select(place, place - IN_W + 2u, place >= HalfBits(IN_W));
        let won = select(HalfBits(), HalfBits(1u) << min(bit, HalfBits(4u)), bit < HalfBits(4u));
        word |= select(0u, fours(won) << (4u * s * READ), ox < OUT_W);
    }
    words[i] = word;
}
