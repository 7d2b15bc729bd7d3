// winograd_1: the matrices of Winograd's convolution at stride 1, put before conv2d_winograd.wgsl, which multiplies tiles by
// them. In one dimension, for three taps w (S. Winograd 1980; A. Lavin and S. Gray 2016, arXiv 1509.09308),
//
//   y = A ((G w) * (B x))       four of y from six of x with six products (*) rather than twelve
//
// and in two dimensions the same from either side. The weights' gradient is a convolution with four taps of dy in the place of
// w: dw = A' ((G' dy) * (B x)).
//
// Where they come from (Toom and Cook): two polynomials are multiplied by multiplying their values at five points, and their
// leading coefficients; a convolution is that, transposed. The points here are 0, +-a, +-b with a = 3/4 and b = 3/2. The usual
// ones, 0, +-1 and +-2, err twice as much, four times at worst (shaders/NOTES.md). Values at +a and -a are sums and differences
// of an even and an odd part. All of A and B is exact in f32.

// A value of each of four tiles.
alias Four = vec4<f32>;
alias Line = array<Four, 6>;

// B, of x; of dy for backward-data: six to six.
fn of_x(d: Line) -> Line {
    let even_a = d[4] - 2.25 * d[2];
    let odd_a = 0.75 * d[3] - 1.6875 * d[1];
    let even_b = d[4] - 0.5625 * d[2];
    let odd_b = 1.5 * d[3] - 0.84375 * d[1];
    var r: Line;
    r[0] = 1.265625 * d[0] - 2.8125 * d[2] + d[4];
    r[1] = even_a + odd_a;
    r[2] = even_a - odd_a;
    r[3] = even_b + odd_b;
    r[4] = even_b - odd_b;
    r[5] = 1.265625 * d[1] - 2.8125 * d[3] + d[5];
    return r;
}

// G' of four, and G of three (the fourth zero) but for the leading coefficient, which is the last one.
fn values(d: Line, leading: Four) -> Line {
    let even_a = -(128.0 / 243.0) * d[0] - (8.0 / 27.0) * d[2];
    let odd_a = -(32.0 / 81.0) * d[1] - (2.0 / 9.0) * d[3];
    let even_b = (32.0 / 243.0) * d[0] + (8.0 / 27.0) * d[2];
    let odd_b = (16.0 / 81.0) * d[1] + (4.0 / 9.0) * d[3];
    var r: Line;
    r[0] = (64.0 / 81.0) * d[0];
    r[1] = even_a + odd_a;
    r[2] = even_a - odd_a;
    r[3] = even_b + odd_b;
    r[4] = even_b - odd_b;
    r[5] = leading;
    return r;
}

// A and A' but for the leading coefficient, which is added to the last one: six to four, or three.
fn back_to(d: Line) -> Line {
    let even_a = d[1] + d[2];
    let odd_a = d[1] - d[2];
    let even_b = d[3] + d[4];
    let odd_b = d[3] - d[4];
    var r: Line;
    r[0] = d[0] + even_a + even_b;
    r[1] = 0.75 * odd_a + 1.5 * odd_b;
    r[2] = 0.5625 * even_a + 2.25 * even_b;
    r[3] = 0.421875 * odd_a + 3.375 * odd_b;
    r[ROWS - 1u] += d[5];
    return r;
}

// The matrix times a line. WHICH: 0 B, 1 G, 2 A, 3 G', 4 A'.
fn times(d: Line) -> Line {
    if WHICH == 0u { return of_x(d); }
    if WHICH == 1u { return values(d, d[2]); }
    if WHICH == 3u { return values(d, d[3]); }
    return back_to(d);
}
