// conv2d_winograd: convolutions of 3 x 3 taps with fewer products (S. Winograd 1980; A. Lavin and S. Gray 2016, arXiv 1509.09308).
//
//   forth:     coordinates = F tile F^T      of x, of dy, or of the weights, each with a matrix F of its own (winograd_1, winograd_2)
//   matmul*:   for each coordinate a product of matrices: weights [m, c] with x [c, places], or for the weights' gradient
//              dy [m, places] with x [places, c]
//   back:      tile = F coordinates F^T (+ bias) (then ReLU)     to y, to dx, or to the weights' gradient
//
//        x                        coordinates of x         of y                          y
//        +-----+-----+   forth    one matrix [c, places]   one matrix     back    +---+---+
//        |    _|__   |  ------>   for each of 36 (81)  ->  [m, places]  ------>   |   |   |   4 x 4 outputs a tile
//        +---|-+  |--+            places: all tiles of     for each of            +---+---+
//        |   |_|__|  |            all pictures             them                   |   |   |
//        +-----+-----+                                                            +---+---+
//        tiles of 6 x 6 that reach two into the next
//
// A tile of 4 x 4 outputs needs 36 products for a channel of x and one of y, not 144 (81 at stride 2, where the phases of x
// are apart, and only even rows and columns save anything). What it costs: reads and writes of coordinates, at stride 1 2.25
// for each value of x and y; and rounding, about twice that of a plain sum. An infinity or NaN spreads over outputs of its
// tiles that do not see it, 5 x 5 at most.
//
// One invocation: a tile of one channel. Coordinates lie [channel][coordinate][place], lanes along places, or with TURNED = 1
// [place][coordinate][channel], lanes along channels. Kernels are planes of one tile (PAIRS = 1: [row][coordinate][pair], one
// pair a lane; FLIP = 1: turned over, and [pair][coordinate][row]).
// WHICH, ROWS, COLUMNS: the matrix; HALF = ROWS COLUMNS; SQUARE = ROWS ROWS; DOWN, ACROSS: tiles of a plane; STEP: values from tile to tile;
// EACH: values of planes read or written at a time, 1 or 4: of a line, LEAD single ones, WHOLE vectors and TRAIL single ones
// are read, STORES of them written; BIAS, RELU: 0 or 1; LANES.
// Grid: linear over places (channels) in x and y, LANES a workgroup, z = channels (places).

struct Params {
    places: u32, channels: u32, height: u32, width: u32,
    // From one coordinate of a tile to the next, from place to place (pair to pair), from channel to channel (row to row).
    step: u32, place_step: u32, channel_step: u32,
    // The row and column of a plane that the first tile begins at, and where the first picture does.
    shift: i32, begin: u32,
    // Kernels of a row, where PAIRS = 1.
    pairs: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> planes: array<Value>;
@group(0) @binding(3) var<storage, read_write> made: array<f32>;

@group(0) @binding(1) var<storage, read> coordinates: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<Value>;

// The place and the channel of an invocation.
fn own(group: vec3<u32>, groups: vec3<u32>, lane: u32) -> vec2<u32> {
    let i = (group.y * groups.x + group.x) * LANES + lane;
    if TURNED == 1u { return vec2(group.z, i); }
    return vec2(i, group.z);
}

// Where the first coordinate of an invocation lies.
fn first(me: vec2<u32>) -> u32 {
    if PAIRS == 1u { return me.y % p.pairs * p.place_step + me.y / p.pairs * p.channel_step; }
    return me.x * p.place_step + me.y * p.channel_step;
}

// Where a place's plane begins, and the first row and column of its tile. Below zero is far above every extent.
fn corner(place: u32, channel: u32) -> vec3<u32> {
    let image = place / (ACROSS * DOWN);
    let shift = bitcast<u32>(p.shift);
    return vec3((image * p.channels + channel) * (p.height * p.width) + p.begin,
                place / ACROSS % DOWN * STEP + shift, place % ACROSS * STEP + shift);
}

@compute @workgroup_size(LANES)
fn forth(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    let me = own(group, groups, lane);
    if (me.x >= p.places) | (me.y >= p.channels) { return; }
    let tile = corner(me.x, me.y);
    // F times every row of the tile, then times every column of what came out.
    var half: array<f32, HALF>;
    for (var r = 0u; r < COLUMNS; r++) { // unroll
        var line: Line;
        var y = tile.y + r;
        if FLIP == 1u { y = tile.y + COLUMNS - 1u - r; }
        // What lies outside of the plane is read at its edge, and counts as zero.
        let is_row = y < p.height;
        let row = tile.x + min(y, p.height - 1u) * p.width;
        for (var j = 0u; j < LEAD; j++) { // unroll
            let x = tile.z + j;
            let value = part(planes[(row + min(x, p.width - 1u)) / EACH], (EACH + j - LEAD) % EACH);
            line[j] = select(0.0, value, is_row & (x < p.width));
        }
        for (var v = 0u; v < WHOLE; v++) { // unroll
            let x = tile.z + LEAD + EACH * v;
            let value = planes[(row + min(x, p.width - EACH)) / EACH];
            for (var j = 0u; j < 4u; j++) { // unroll
                line[LEAD + EACH * v + j] = select(0.0, part(value, j), is_row & (x < p.width));
            }
        }
        for (var j = 0u; j < TRAIL; j++) { // unroll
            var x = tile.z + LEAD + EACH * WHOLE + j;
            if FLIP == 1u { x = tile.z + COLUMNS - 1u - j; }
            let value = part(planes[(row + min(x, p.width - 1u)) / EACH], j % EACH);
            line[LEAD + EACH * WHOLE + j] = select(0.0, value, is_row & (x < p.width));
        }
        let turned = times(line);
        for (var u = 0u; u < ROWS; u++) { // unroll
            half[r * ROWS + u] = turned[u];
        }
    }
    let at = first(me);
    for (var u = 0u; u < ROWS; u++) { // unroll
        var line: Line;
        for (var r = 0u; r < COLUMNS; r++) { // unroll
            line[r] = half[r * ROWS + u];
        }
        let turned = times(line);
        for (var v = 0u; v < ROWS; v++) { // unroll
            made[at + (v * ROWS + u) * p.step] = turned[v];
        }
    }
}

@compute @workgroup_size(LANES)
fn back(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let me = own(group, groups, lane);
    if (me.x >= p.places) | (me.y >= p.channels) { return; }
    let at = first(me);
    // F times every row of coordinates, then times every column of what came out.
    var half: array<f32, HALF>;
    for (var v = 0u; v < COLUMNS; v++) { // unroll
        var line: Line;
        for (var u = 0u; u < COLUMNS; u++) { // unroll
            line[u] = coordinates[at + (v * COLUMNS + u) * p.step];
        }
        let turned = times(line);
        for (var j = 0u; j < ROWS; j++) { // unroll
            half[j * COLUMNS + v] = turned[j];
        }
    }
    var tile_of: array<f32, SQUARE>;
    for (var j = 0u; j < ROWS; j++) { // unroll
        var line: Line;
        for (var v = 0u; v < COLUMNS; v++) { // unroll
            line[v] = half[j * COLUMNS + v];
        }
        let turned = times(line);
        for (var i = 0u; i < ROWS; i++) { // unroll
            tile_of[i * ROWS + j] = turned[i];
        }
    }
    var constant = 0.0;
    if BIAS == 1u { constant = bias[me.y]; }
    let tile = corner(me.x, me.y);
    for (var i = 0u; i < ROWS; i++) { // unroll
        let row = tile.y + i;
        let base = tile.x + row * p.width;
        for (var t = 0u; t < STORES; t++) { // unroll
            var value = Value();
            for (var j = 0u; j < EACH; j++) { // unroll
                var sum = tile_of[i * ROWS + EACH * t + j];
                if BIAS == 1u { sum += constant; }
                if RELU == 1u { sum = select(sum, 0.0, sum < 0.0); }
                value = with_part(value, j, sum);
            }
            let x = tile.z + EACH * t;
            if (row < p.height) & (x < p.width) { out[(base + x) / EACH] = value; }
        }
    }
}
