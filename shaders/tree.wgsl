// tree: adds 64 parts of a workgroup in a fixed tree, halves first: 32 sums of two, 16 of those, and so on.
//
// Put before a kernel that says what a Part is. Levels are taken three at a time, since on a software adapter a barrier costs more
// than sums that several lanes repeat.

var<workgroup> parts: array<Part, 64>;

// Three levels, over parts[first + step k].
fn eight(first: u32, step: u32) -> Part {
    var sum: array<Part, 8>;
    for (var k = 0u; k < 8u; k++) { // unroll
        sum[k] = parts[first + k * step];
    }
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

// The sum of all parts, for every lane: at least eight of them call this, after they have written the parts.
fn added(lane: u32) -> Part {
    workgroupBarrier();
    // Of what lanes write here, each reads its own alone.
    if lane < 8u { parts[lane] = eight(lane, 8u); }
    workgroupBarrier();
    return eight(0u, 1u);
}
