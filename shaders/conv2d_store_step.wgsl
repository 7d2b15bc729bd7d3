// conv2d_store_step: how conv2d_subgroup.wgsl ends where its sums are a gradient by pixels of which an attack wants the signs.
//
//   moved[n, m, oy, ox] = sign_step.wgsl's of the pixel, of out[n, m, oy, ox] and of the clean pixel
//
// The gradient itself is not written. Put before conv2d_subgroup.wgsl, after vec2.wgsl or vec4.wgsl and sign_step.wgsl.

@group(0) @binding(4) var<storage, read_write> moved: array<Value>;
@group(0) @binding(6) var<storage, read> pixels: array<Stored>;
@group(0) @binding(7) var<storage, read> clean: array<Stored>;

// Takes the step of the pixels from (oy, ox) of a plane on along their sums. TALL = 1: one row.
fn store(plane: u32, oy: u32, ox: u32, above: Value, below: Value) {
    let at = ((plane * p.out_h + oy) * p.out_w + ox) / EACH;
    moved[at] = sign_step(value_of(pixels[at]), above, value_of(clean[at]));
}
