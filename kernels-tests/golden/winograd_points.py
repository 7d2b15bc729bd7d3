#!/usr/bin/env python3
"""How much Winograd's convolution rounds, by the points that its matrices are made of (shaders/winograd_1.wgsl, _2.wgsl).

    winograd_points.py              (needs numpy)

Makes the matrices of each set of points in exact fractions (Toom and Cook), checks them on small integers, and
prints errors in f32 against f64: the root of the mean square over that of the values, and the largest over the largest
value, for 400 tiles of 64 channels of x after ReLU at stride 1, for 300 of 128 channels at stride 2, where the part with
two taps in both directions is looked at. `--matrices` prints the matrices of the points that were taken.
"""
import argparse
from fractions import Fraction as F

import numpy as np

STRIDE_1 = [F(0), F(3, 4), F(-3, 4), F(3, 2), F(-3, 2)]
STRIDE_2 = [F(0), F(1, 2), F(-1), F(2)]


def polynomial(roots):
    """Coefficients of the product of (t - root), the constant one first."""
    found = [1]
    for root in roots:
        found = [(found[i - 1] if i else 0) - root * (found[i] if i < len(found) else 0) for i in range(len(found) + 1)]
    return found


def matrices(points, outputs, taps):
    """A, G and B of y = A ((G w) * (B x)), with infinity as the last point."""
    n = outputs + taps - 1
    a, g, b = [[0] * n for _ in range(outputs)], [], []
    for i, point in enumerate(points):
        others = points[:i] + points[i + 1:]
        scale = 1
        for other in others:
            scale *= point - other
        g.append([point**j / scale for j in range(taps)])
        b.append(polynomial(others) + [0])
        for j in range(outputs):
            a[j][i] = point**j
    a[-1][-1] = 1
    g.append([0] * (taps - 1) + [1])
    b.append(polynomial(points))
    return a, g, b


def check(points, outputs, taps):
    """Exact for fractions; roots are checked to rounding."""
    a, g, b = (np.array(one, object) for one in matrices(points, outputs, taps))
    x, w = np.arange(1, outputs + taps) ** 2 % 7, np.arange(1, taps + 1)
    found = a @ ((g @ w) * (b @ x))
    wanted = [sum(w[j] * x[i + j] for j in range(taps)) for i in range(outputs)]
    assert all(abs(float(one - other)) < 1e-9 for one, other in zip(found, wanted)), (points, found, wanted)


def errors(points, outputs, taps, channels, tiles):
    """Of the plain sum, and of the products by these points."""
    check(points, outputs, taps)
    a, g, b = (np.array(one, float) for one in matrices(points, outputs, taps))
    random = np.random.default_rng(1)
    n = outputs + taps - 1
    x = np.maximum(random.standard_normal((channels, tiles, n, n)), 0).astype(np.float32)
    w = (random.standard_normal((channels, taps, taps)) / (taps * channels**0.5)).astype(np.float32)
    wanted, plain = np.zeros((tiles, outputs, outputs)), np.zeros((tiles, outputs, outputs), np.float32)
    for c in range(channels):
        for i in range(taps):
            for j in range(taps):
                window = x[c, :, i:i + outputs, j:j + outputs]
                wanted += window.astype(float) * float(w[c, i, j])
                plain += window * w[c, i, j]
    a, g, b = (one.astype(np.float32) for one in (a, g, b))
    u, v = g @ w @ g.T, b @ x @ b.T
    product = np.zeros((tiles, n, n), np.float32)
    for c in range(channels):
        product += u[c] * v[c]
    y = a @ product @ a.T

    def relative(found):
        away = found - wanted
        return ((away**2).mean() / (wanted**2).mean()) ** 0.5, abs(away).max() / abs(wanted).max()

    return relative(plain), relative(y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--matrices", action="store_true")
    if parser.parse_args().matrices:
        for name, points, sizes in [("stride 1", STRIDE_1, [(4, 3), (3, 4)]), ("stride 2", STRIDE_2, [(4, 2), (2, 4)])]:
            for outputs, taps in sizes:
                print(f"{name}, {outputs} outputs of {taps} taps")
                for letter, rows in zip("AGB", matrices(points, outputs, taps)):
                    print(f"  {letter}:", *("[" + ", ".join(map(str, row)) + "]" for row in rows), sep="\n    ")
        return
    root = 2**0.5
    stride_1 = [[0, 1, -1, 2, -2], [0, 1, -1, 0.5, -0.5], [0, 1 / root, -1 / root, root, -root],
                [F(0), F(2, 3), F(-2, 3), F(3, 2), F(-3, 2)], STRIDE_1]
    stride_2 = [[0, 1, -1, 0.5], [0, 1, -1, 2], [0, 0.75, -1, 1.5], STRIDE_2]
    for title, tried, (outputs, taps), (channels, tiles) in [
        ("stride 1, forward", stride_1, (4, 3), (64, 400)), ("stride 1, weights' gradient", stride_1, (3, 4), (64, 400)),
        ("stride 2, forward", stride_2, (4, 2), (128, 300)), ("stride 2, weights' gradient", stride_2, (2, 4), (128, 300)),
        ("stride 1, forward, 2 x 2 outputs", [[0, 1, -1]], (2, 3), (64, 400)),
    ]:
        for number, points in enumerate(tried):
            plain, found = errors(points, outputs, taps, channels, tiles)
            if number == 0:
                print(f"{title}: plain sum {plain[0]:.1e}, {plain[1]:.1e}")
            named = ", ".join(str(point) if isinstance(point, (int, F)) else f"{point:.4g}" for point in points)
            print(f"  {named}: {found[0]:.1e}, {found[1]:.1e}")


if __name__ == "__main__":
    main()
