// Philox-4x32-10 (Salmon et al., SC 2011), as in src/random.rs: word `index` of the stream
// (seed, purpose, item) is a pure function of the four, in integer arithmetic, so it has the same bits
// on every adapter. This file is put before the kernels that draw random numbers.

// The high word of a 32 x 32 bit product; WGSL has no 64-bit integers.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu; let a_high = a >> 16u;
    let b_low = b & 0xffffu; let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let cross = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (cross >> 16u);
}

// The four words of one block of a stream.
fn random_block(block: u32, item: u32, purpose: u32, seed: vec2<u32>) -> vec4<u32> {
    var counter = vec4<u32>(block, item, purpose, 0u);
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let high0 = multiply_high(0xD2511F53u, counter.x);
        let low0 = 0xD2511F53u * counter.x;
        let high1 = multiply_high(0xCD9E8D57u, counter.z);
        let low1 = 0xCD9E8D57u * counter.z;
        counter = vec4<u32>(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

// The upper 24 bits as a number in [0, 1), exact in f32.
fn unit(word: u32) -> f32 { return f32(word >> 8u) * (1.0 / 16777216.0); }
