// sign_step: one step of an attack on pixels, x' = clamp(x + step s, low, high), where s is the gradient's sign and
// the sign of 0 is 0 (FGSM: Goodfellow et al. 2015), or with SIGNS = 1 it is 1 (ODIN: Liang et al. 2018).
//
// With PROJECT = 1 the moved pixel is first brought back into the ball around the clean one, [x0 - eps, x0 + eps] (PGD: Madry
// et al. 2018). A step of eps from x0 itself needs no projection, and without one x0 + step s is rounded once, as PyTorch
// rounds it. A gradient that is not finite goes through as the pixel: it must be seen, not pass for "no perturbation".
// Put before a kernel whose p has step, eps, low and high, after scalar.wgsl, vec2.wgsl or vec4.wgsl.

// Sign and finiteness are read off the bits: an adapter may flush subnormal numbers to zero in a comparison, and
// WGSL lets a compiler assume that no value is NaN.
fn sign_step(x: Value, gradient: Value, x0: Value) -> Value {
    let bits = bitcast<Bits>(gradient);
    let size = bits & Bits(0x7fffffffu);
    let along = select(Value(p.step), Value(-p.step), bits != size);
    let still = select(0.0, p.step, SIGNS == 1u);
    var to = x + select(along, Value(still), size == Bits(0u));
    if PROJECT == 1u { to = clamp(to, x0 - Value(p.eps), x0 + Value(p.eps)); }
    to = clamp(to, Value(p.low), Value(p.high));
    return select(to, gradient, size >= Bits(0x7f800000u));
}
