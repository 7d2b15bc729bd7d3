// conv2d_winograd: convolutions of 3 x 3 taps with fewer products (S. Winograd 1980; A. Lavin and S. Gray 2016, arXiv
// 1509.09308).
//
//   forth:     coordinates = F tile F^T      of x, of dy, or of the weights, each with a matrix F of its own (winograd_1,
//              winograd_2)
//   matmul*:   for each coordinate a product of matrices: weights [m, c] with x [c, places], or for the weights' gradient
//              dy [m, places] with x [places, c]
//   back:      tile = F coordinates F^T (+ bias) (then ReLU)     to y, to dx, or to the weights' gradient; to dx also times the
//              derivative of the ReLU that x came from
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
// One invocation: four tiles, side by side in the coordinates: places one after the other, of one channel; with TURNED = 1
// channels one after the other, of one place. Those are the items, and the others are layers: coordinates lie
// [layer][coordinate][item], read and written by fours. Weights are pictures of one tile: rows of w are pictures, channels of
// w channels (FLIP = 1: turned over).
// Rows and columns of tiles take turns at one block of reads and one of stores, which compiles sooner than a block for each:
// after a turn what waits, half of a product, moves down.
// WHICH, ROWS, COLUMNS: the matrix; HALF = ROWS COLUMNS; BUT_ONE, BUT_ROWS, BUT_COLUMNS: HALF less so many; DOWN, ACROSS: tiles
// of a plane; STEP: values from tile to tile; TILES: 4 where four items always lie beside each other in a plane, else 1: so many
// share a line of SPAN = (TILES - 1) STEP + COLUMNS values; EACH: values of planes read or written at a time, 1 or 4: of a line
// LEAD single ones, WHOLE vectors and TRAIL single ones are read, and STORES of a tile's line written; BIAS, RELU, GATE: 0 or 1;
// LANES.
// Grid: linear over ceil(items / 4) in x and y, LANES a workgroup, z = layers.

struct Params {
    items: u32, channels: u32, height: u32, width: u32,
    // In fours, from one coordinate of a tile to the next, and from layer to layer.
    step: u32, layer_step: u32,
    // The row and column of a plane that the first tile begins at, and where the first picture does.
    shift: i32, begin: u32,
    // ROWS and COLUMNS, but not as constants, lest the driver write the loops out.
    rows: u32, columns: u32,
}
@group(0) @binding(0) var<uniform> given: Params;
var<private> p: Params;
@group(0) @binding(1) var<storage, read> planes: array<Stored>;
@group(0) @binding(2) var<storage, read_write> made: array<Four>;

@group(0) @binding(1) var<storage, read> coordinates: array<Stored4>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> gate: array<Value>;
@group(0) @binding(4) var<storage, read_write> out: array<Value>;

// Where the plane of an item of a layer begins, and the first row and column of its tile. Below zero is far above every extent.
// Items past the end, in the last four, repeat the last one: forth stores copies of it, products compute them, too
// (matmul::each), so back stores the same values again.
fn corner(item: u32, layer: u32) -> vec3<u32> {
    let known = min(item, p.items - 1u);
    let place = select(known, layer, TURNED == 1u);
    let channel = select(layer, known, TURNED == 1u);
    let image = place / (ACROSS * DOWN);
    let shift = bitcast<u32>(p.shift);
    return vec3((image * p.channels + channel) * (p.height * p.width) + p.begin,
                place / ACROSS % DOWN * STEP + shift, place % ACROSS * STEP + shift);
}

@compute @workgroup_size(LANES)
fn forth(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
         @builtin(local_invocation_index) lane: u32) {
    p = given;
    let i = (group.y * groups.x + group.x) * LANES + lane;
    if 4u * i >= p.items { return; }
    // F times every row of the tiles, then times every column of what came out.
    var half: array<Four, HALF>;
    var tile = corner(4u * i, group.z);
    for (var r = 0u; r < p.columns; r++) {
        var line: Line;
        for (var run = 0u; run < 4u; run += TILES) {
            if TILES == 1u { tile = corner(4u * i + run, group.z); }
            var read: array<f32, SPAN>;
            var y = tile.y + r;
            if FLIP == 1u { y = tile.y + COLUMNS - 1u - r; }
            // What lies outside of the plane is read at its edge, and counts as zero.
            let is_row = y < p.height;
            let row = tile.x + min(y, p.height - 1u) * p.width;
            for (var j = 0u; j < LEAD; j++) { // unroll
                let x = tile.z + j;
                let value = part(value_of(planes[(row + min(x, p.width - 1u)) / EACH]), (EACH + j - LEAD) % EACH);
                read[j] = select(0.0, value, is_row & (x < p.width));
            }
            for (var v = 0u; v < WHOLE; v++) { // unroll
                let x = tile.z + LEAD + EACH * v;
                let value = value_of(planes[(row + min(x, p.width - EACH)) / EACH]);
                for (var j = 0u; j < 4u; j++) { // unroll
                    read[LEAD + EACH * v + j] = select(0.0, part(value, j), is_row & (x < p.width));
                }
            }
            for (var j = 0u; j < TRAIL; j++) { // unroll
                var x = tile.z + LEAD + EACH * WHOLE + j;
                if FLIP == 1u { x = tile.z + COLUMNS - 1u - j; }
                let value = part(value_of(planes[(row + min(x, p.width - 1u)) / EACH]), j % EACH);
                read[LEAD + EACH * WHOLE + j] = select(0.0, value, is_row & (x < p.width));
            }
            for (var j = 0u; j < COLUMNS; j++) { // unroll
                // A tile that is read alone moves the others down. (% SPAN changes nothing where four are read at once.)
                let alone = Four(line[j].yzw, read[j]);
                let four = Four(read[j], read[(STEP + j) % SPAN], read[(2u * STEP + j) % SPAN], read[(3u * STEP + j) % SPAN]);
                line[j] = select(alone, four, TILES == 4u);
            }
        }
        let turned = times(line);
        for (var t = 0u; t < BUT_ROWS; t++) { // unroll
            half[t] = half[t + ROWS];
        }
        for (var u = 0u; u < ROWS; u++) { // unroll
            half[BUT_ROWS + u] = turned[u];
        }
    }
    var at = group.z * p.layer_step + i;
    for (var u = 0u; u < p.rows; u++) {
        var line: Line;
        for (var r = 0u; r < COLUMNS; r++) { // unroll
            line[r] = half[r * ROWS];
        }
        let turned = times(line);
        for (var v = 0u; v < ROWS; v++) { // unroll
            made[at + v * ROWS * p.step] = turned[v];
        }
        at += p.step;
        for (var t = 0u; t < BUT_ONE; t++) { // unroll
            half[t] = half[t + 1u];
        }
    }
}

@compute @workgroup_size(LANES)
fn back(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    p = given;
    let i = (group.y * groups.x + group.x) * LANES + lane;
    if 4u * i >= p.items { return; }
    var at = group.z * p.layer_step + i;
    // F times every column of coordinates, then times every row of what came out.
    var half: array<Four, HALF>;
    for (var u = 0u; u < p.columns; u++) {
        var line: Line;
        for (var v = 0u; v < COLUMNS; v++) { // unroll
            line[v] = four(coordinates[at + v * COLUMNS * p.step]);
        }
        at += p.step;
        let turned = times(line);
        for (var t = 0u; t < BUT_ONE; t++) { // unroll
            half[t] = half[t + 1u];
        }
        for (var r = 0u; r < ROWS; r++) { // unroll
            half[r * COLUMNS + COLUMNS - 1u] = turned[r];
        }
    }
    var constant = 0.0;
    if BIAS == 1u { constant = bias[group.z]; }
    var corners: array<vec3<u32>, 4>;
    for (var t = 0u; t < 4u; t++) { // unroll
        corners[t] = corner(4u * i + t, group.z);
    }
    for (var r = 0u; r < p.rows; r++) {
        var line: Line;
        for (var u = 0u; u < COLUMNS; u++) { // unroll
            line[u] = half[u];
        }
        let turned = times(line);
        for (var t = 0u; t < 4u; t++) { // unroll
            let tile = corners[t];
            let row = tile.y + r;
            for (var s = 0u; s < STORES; s++) { // unroll
                var value = Value();
                for (var j = 0u; j < EACH; j++) { // unroll
                    var sum = turned[EACH * s + j][t];
                    if BIAS == 1u { sum += constant; }
                    if RELU == 1u { sum = select(sum, 0.0, sum < 0.0); }
                    value = with_part(value, j, sum);
                }
                let x = tile.z + EACH * s;
                if (row < p.height) & (x < p.width) {
                    let to = (tile.x + row * p.width + x) / EACH;
                    if GATE == 1u { value *= select(Value(1.0), Value(), gate[to] <= Value()); }
                    out[to] = value;
                }
            }
        }
        for (var t = 0u; t < BUT_COLUMNS; t++) { // unroll
            half[t] = half[t + COLUMNS];
        }
    }
}
