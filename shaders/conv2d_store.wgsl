// conv2d_store: how conv2d_subgroup.wgsl ends where its sums are the output.
//
// Put before it, after scalar.wgsl, vec2.wgsl or vec4.wgsl.

@group(0) @binding(4) var<storage, read_write> out: array<Value>;

// Stores sums, bias included, that lie side by side from (oy, ox) of a plane on. TALL = 1: one row.
fn store(plane: u32, oy: u32, ox: u32, above: Value, below: Value) {
    var value = above;
    if RELU == 1u { value = select(value, Value(), value < Value()); }
    out[((plane * p.out_h + oy) * p.out_w + ox) / EACH] = value;
}
