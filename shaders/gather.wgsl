// gather: a batch from a data set of bytes that stays on the GPU.
//   x[b, c, y, x] = table[c][byte of image order[first + b] at (c, y', x')]
// The table holds the 256 values that a byte can stand for in each channel (k / 255, or normalised), made on
// the CPU: a division on the GPU may be off by an ulp, a table is the same on every adapter.
// AUGMENT = 1: a random flip and a shift by up to p.shift pixels, reflected at the border, drawn from word
// block (first + b) of the stream (seed, purpose, item): the same for a sample whatever the batch size.
// PARTS: the set lies in one buffer, or in two, because one binding may be limited to 128 MiB.
// CHANNELS, HEIGHT, WIDTH: of an image; constants, because a software adapter divides by them lane by lane where they
// are not. Needs random.wgsl and table_storage.wgsl or table_uniform.wgsl before it. The width is a multiple of four.
// Grid: linear over a quarter of batch x image, 64 invocations a workgroup.

struct Params {
    batch: u32, first: u32, images_in_a: u32,
    item: u32, purpose: u32, seed_low: u32, seed_high: u32, flip: u32, shift: u32,
}
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(1) var<storage, read> bytes_a: array<u32>;
@group(0) @binding(3) var<storage, read> bytes_b: array<u32>;
@group(0) @binding(4) var<storage, read> all_labels: array<u32>;
@group(0) @binding(5) var<storage, read> order: array<u32>;
@group(0) @binding(6) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> labels: array<u32>;

// Reflects a coordinate at the first and last pixel: -1 is 1, size is size - 2.
fn reflect_at(v: i32, size: i32) -> i32 {
    let low = abs(v);
    return select(low, 2 * (size - 1) - low, low >= size);
}

// The byte of an image at a place inside it.
fn byte_at(image: u32, size: u32, inside: u32) -> u32 {
    var word = 0u;
    if (PARTS == 1u) | (image < p.images_in_a) {
        word = bytes_a[(image * size + inside) / 4u];
    } else {
        word = bytes_b[((image - p.images_in_a) * size + inside) / 4u];
    }
    return word >> (8u * (inside & 3u));
}

@compute @workgroup_size(64)
fn gather(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    p = given;
    // Four neighbours of a row, which without augmentation are one word of bytes.
    let i = ((group.y * groups.x + group.x) * 64u + lane) * 4u;
    let size = CHANNELS * HEIGHT * WIDTH;
    if i >= p.batch * size { return; }
    let b = i / size;
    let c = (i / (HEIGHT * WIDTH)) % CHANNELS;
    let row = (i / WIDTH) % HEIGHT;
    let column = i % WIDTH;
    let image = order[p.first + b];
    var levels4 = vec4<u32>();
    if AUGMENT == 1u {
        let words = random_block(p.first + b, p.item, p.purpose, vec2<u32>(p.seed_low, p.seed_high));
        let mirrored = (p.flip == 1u) & ((words.x & 1u) == 1u);
        let range = 2u * p.shift + 1u;
        let dy = i32(multiply_high(words.y, range)) - i32(p.shift);
        let dx = i32(multiply_high(words.z, range)) - i32(p.shift);
        let from_row = u32(reflect_at(i32(row) + dy, i32(HEIGHT)));
        for (var j = 0u; j < 4u; j++) {
            let place = select(column + j, WIDTH - 1u - (column + j), mirrored);
            let from_column = u32(reflect_at(i32(place) + dx, i32(WIDTH)));
            levels4[j] = byte_at(image, size, (c * HEIGHT + from_row) * WIDTH + from_column) & 0xffu;
        }
    } else {
        let word = byte_at(image, size, i % size);
        levels4 = vec4<u32>(word, word >> 8u, word >> 16u, word >> 24u) & vec4<u32>(0xffu);
    }
    let base = c * 256u;
    x[i / 4u] = vec4<f32>(table_at(base + levels4.x), table_at(base + levels4.y), table_at(base + levels4.z),
                          table_at(base + levels4.w));
    if i % size == 0u { labels[b] = all_labels[image]; }
}
