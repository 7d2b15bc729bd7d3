// winograd_2: winograd_1.wgsl's matrices for stride 2, where even x meet the taps 0 and 2, and odd x tap 1 alone.
//
//   y[i] = w[0] x[2 i] + w[2] x[2 i + 2]   (+ w[1] x[2 i + 1])
//          four of y from five even x      and from four odd x
//          with five products              with four: nine, rather than twelve
//
// The even ones by the points 0, 1/2, -1, 2 (of those that were tried they err least); the odd ones stay what they are. In two
// dimensions 81 products for 144. Coordinates 0 to 4 are of even x, 5 to 8 of odd x. Backward-data, y and x changed:
// dx[2 i] is a convolution of dy with two taps, dx[2 i + 1] = w[1] dy[i].

// A value of each of four tiles.
alias Four = vec4<f32>;
alias Line = array<Four, 9>;

// Of five neighbours, for two taps that lie beside each other.
fn of_five(a: Four, b: Four, c: Four, d: Four, e: Four) -> Line {
    var r: Line;
    r[0] = a - 1.5 * (b + c) + d;
    r[1] = d - c - 2.0 * b;
    r[2] = b - 2.5 * c + d;
    r[3] = 0.5 * (c - b) + d;
    r[4] = b - 1.5 * (c + d) + e;
    return r;
}

// Four from the first five coordinates; the others stay.
fn to_four(d: Line) -> Line {
    var r = d;
    r[0] = d[0] + d[1] + d[2] + d[3];
    r[1] = 0.5 * d[1] - d[2] + 2.0 * d[3];
    r[2] = 0.25 * d[1] + d[2] + 4.0 * d[3];
    r[3] = 0.125 * d[1] - d[2] + 8.0 * d[3] + d[4];
    return r;
}

fn with_rest(line: Line, a: Four, b: Four, c: Four, d: Four) -> Line {
    var r = line;
    r[5] = a;
    r[6] = b;
    r[7] = c;
    r[8] = d;
    return r;
}

// Three taps of w.
fn of_taps(d: Line) -> Line {
    var r: Line;
    r[0] = d[0];
    r[1] = -(8.0 / 9.0) * d[0] - (4.0 / 9.0) * d[2];
    r[2] = (2.0 / 9.0) * (d[2] - d[0]);
    r[3] = (1.0 / 9.0) * d[0] + (2.0 / 9.0) * d[2];
    r[4] = d[2];
    return with_rest(r, d[1], d[1], d[1], d[1]);
}

// Four of dy, for the weights' gradient.
fn of_dy(d: Line) -> Line {
    var r: Line;
    r[0] = d[0];
    r[1] = -(8.0 / 9.0) * d[0] - (4.0 / 9.0) * d[1] - (2.0 / 9.0) * d[2] - (1.0 / 9.0) * d[3];
    r[2] = (2.0 / 9.0) * (d[1] - d[0] + d[3] - d[2]);
    r[3] = (1.0 / 9.0) * d[0] + (2.0 / 9.0) * d[1] + (4.0 / 9.0) * d[2] + (8.0 / 9.0) * d[3];
    r[4] = d[3];
    return with_rest(r, d[0], d[1], d[2], d[3]);
}

// Three of dw.
fn to_taps(d: Line) -> Line {
    var r: Line;
    r[0] = d[0] + d[1] + d[2] + d[3];
    r[1] = d[5] + d[6] + d[7] + d[8];
    r[2] = 0.5 * d[1] - d[2] + 2.0 * d[3] + d[4];
    return r;
}

// The matrix times a line. WHICH: 0 of x, 1 of w, 2 to y, 3 of dy for the weights' gradient, 4 to dw; 5 of dy and 6 to dx, whose
// first is an even one; 7 and 8 the same where it is an odd one.
fn times(d: Line) -> Line {
    if WHICH == 0u { return with_rest(of_five(d[0], d[2], d[4], d[6], d[8]), d[1], d[3], d[5], d[7]); }
    if WHICH == 1u { return of_taps(d); }
    if WHICH == 3u { return of_dy(d); }
    if WHICH == 4u { return to_taps(d); }
    if WHICH == 5u { return with_rest(of_five(d[0], d[1], d[2], d[3], d[4]), d[1], d[2], d[3], d[4]); }
    if WHICH == 7u { return with_rest(of_five(d[0], d[1], d[2], d[3], d[4]), d[0], d[1], d[2], d[3]); }
    let even = to_four(d);
    var r: Line;
    for (var j = 0u; j < 4u; j++) { // unroll
        if WHICH == 2u {
            r[j] = even[j] + d[5u + j];
        } else if WHICH == 6u {
            r[2u * j] = even[j];
            r[2u * j + 1u] = d[5u + j];
        } else {
            r[2u * j] = d[5u + j];
            r[2u * j + 1u] = even[j];
        }
    }
    return r;
}
