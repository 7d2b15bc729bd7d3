//! The operations that have several kernels, each variant by force: convolution, transposed convolution, matrix products.

use super::pooled;
use super::reference::conv2d::{Case, biased, channel_sums, relu};
use super::reference::matmul::{Product, product};
use super::reference::{random, short};
use super::trial::{Subject, Trial, Within, amid};
use crate::gpu::{Gpu, Result, Shape, Tensor};
use crate::ops::conv2d;
use crate::ops::matmul::{self, Epilogue, Operand, Variant, plain, transposed};
use crate::ops::tiles::{self, CONV2D, ConvVariant, MATMUL};

/// Full and partial blocks of channels, positions and lanes, empty phases, rows that no block divides: for every variant.
fn edges() -> [Case; 4] {
    [
        Case::new([1, 1, 1], [1, 1], 1, 1, 0),
        Case::new([2, 2, 9], [5, 17], 3, 1, 1),
        Case::new([3, 5, 3], [7, 6], 2, 3, 1),
        // A kernel smaller than the stride: phases without a tap.
        Case::new([1, 2, 2], [9, 9], 1, 2, 0),
    ]
}

/// The models' own layers on a picture or two: lab's first, lenet's first, one of its strided ones, ae3's second. Only the
/// naive variant and the one that this adapter uses are tried on them: the large tiles of a variant that is not meant for
/// the adapter take a minute to compile (Mesa 25, nothing in the driver's cache), and nobody runs them.
fn layers() -> [Case; 4] {
    [
        Case::new([1, 3, 32], [32, 32], 3, 1, 1),
        // With ReLU, as in the ten steps of training, so that it is compiled for both.
        Case::new([2, 3, 6], [32, 32], 5, 1, 0),
        Case::new([1, 32, 64], [16, 16], 3, 2, 1),
        Case::new([2, 12, 24], [16, 16], 4, 2, 1),
    ]
}

/// A random tensor and its values: where there are cooperative matrices, such as f16 holds exactly, so that one reference
/// serves all variants.
fn operand(gpu: &Gpu, item: u32, shape: impl Into<Shape>) -> Result<(Tensor, Vec<f32>)> {
    let shape = shape.into();
    let values = random(item, shape.count());
    let values = if gpu.cooperative().is_some() { short(values) } else { values };
    Ok((gpu.tensor(shape, &values)?, values))
}

/// A pass's sum: over windows of the wide side, spread over them, or over positions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sum {
    Gathered,
    Spread,
    Weights,
}

/// The file that a variant's pass is computed by.
fn file(gpu: &Gpu, variant: ConvVariant, case: Case, sum: Sum) -> &'static str {
    let lines = || {
        let channels = [case.wide_c, case.narrow_c];
        let extents = [case.kernel, case.window.stride, case.narrow()[3]];
        tiles::weight_tile(gpu, ConvVariant::Subgroup, channels, extents, None).lines
    };
    let phases = if sum == Sum::Spread { case.window.stride } else { 1 };
    match (variant, sum == Sum::Weights) {
        (ConvVariant::Naive, _) => "conv2d_naive",
        (ConvVariant::Winograd, _) => "conv2d_winograd",
        (ConvVariant::Direct, false) => "conv2d",
        (ConvVariant::Direct, true) => "conv2d_weights",
        (ConvVariant::Subgroup, false) if tiles::has_few_taps(case.kernel, phases) => "conv2d_taps",
        (ConvVariant::Subgroup, false) => "conv2d_subgroup",
        (ConvVariant::Lanes, false) => "conv2d_lanes",
        (ConvVariant::Coop, false) => "conv2d_coop",
        (ConvVariant::Coop, true) => "conv2d_weights_coop",
        (ConvVariant::Gemm, false) => "conv2d_gemm",
        (ConvVariant::Gemm, true) => "conv2d_weights_gemm",
        (ConvVariant::Subgroup | ConvVariant::Lanes, true) if lines() => "conv2d_weights_lines",
        (ConvVariant::Subgroup | ConvVariant::Lanes, true) => "conv2d_weights_subgroup",
    }
}

/// Convolution in the given variant, all passes of all cases, plain and transposed.
fn convolution(trial: &mut Trial<'_>, variant: ConvVariant, cases: &[Case]) -> Result<()> {
    for (index, &case) in cases.iter().enumerate() {
        let gpu = trial.gpu;
        let subject = |pass: &'static str, sum: Sum| Subject {
            operation: CONV2D,
            variant: Some(variant.name()),
            kernel: file(gpu, variant, case, sum),
            pass,
        };
        let (window, taps) = (case.window, case.kernel * case.kernel);
        let ((wide, wide_values), (narrow, narrow_values)) =
            (operand(gpu, 0, case.wide())?, operand(gpu, 3, case.narrow())?);
        let ((w, w_values), (b, b_values)) = (operand(gpu, 1, case.weight())?, operand(gpu, 2, [case.narrow_c])?);
        let positions = case.batch * case.narrow()[2] * case.narrow()[3];
        let name = format!("{:?} k{} s{} p{}", case.wide(), case.kernel, window.stride, window.padding);
        let (to_narrow, to_wide) = (Within::Terms(taps * case.wide_c), Within::Terms(taps * case.narrow_c));

        let sums = biased(case.narrow(), case.sum_narrow(&wide_values, &w_values), &b_values);
        // Every constant is another kernel to compile, and that is what takes the time: ReLU in every second case.
        let clip = !index.is_multiple_of(2);
        let operands = pooled::Operands { x: &wide, weight: &w, bias: &b };
        let of = |pass| subject(pass, Sum::Gathered);
        pooled::fused(trial, of, (case, &name), &operands, (&sums, &w_values), clip)?;
        let wanted = if clip { relu(&sums) } else { sums };
        trial.check(subject("forward", Sum::Gathered), &name, &wanted, to_narrow, &|gpu| {
            gpu.read(&conv2d::forward(gpu, &wide, &w, Some(&b), window, clip)?)
        })?;
        let spread = case.sum_wide(&narrow_values, &w_values);
        trial.check(subject("backward-data", Sum::Spread), &name, &spread, to_wide, &|gpu| {
            amid(gpu, case.wide(), |dx| conv2d::backward_data(gpu, &narrow, &w, window, dx))
        })?;
        if variant == ConvVariant::Winograd && clip {
            // As if `wide` had come out of a ReLU, whose gradient the same launch takes.
            let slopes = wide_values.iter().map(|&x| f64::from(u8::from(x > 0.0)));
            let through: Vec<f64> = spread.iter().zip(slopes).map(|(sum, slope)| sum * slope).collect();
            let subject = subject("backward-data through ReLU", Sum::Spread);
            trial.check(subject, &name, &through, to_wide, &|gpu| {
                amid(gpu, case.wide(), |dx| conv2d::backward_data_relu(gpu, &narrow, &w, window, &wide, dx).map(|_| ()))
            })?;
        }
        let gradient = case.sum_weight(&wide_values, &narrow_values);
        trial.check(subject("backward-weights", Sum::Weights), &name, &gradient, Within::Terms(positions), &|gpu| {
            amid(gpu, case.weight(), |dw| conv2d::backward_weights(gpu, &wide, &narrow, window, dw))
        })?;
        if variant == ConvVariant::Direct {
            // The bias's gradient is a reduction, whatever the variant.
            let sums = channel_sums(case.narrow(), &narrow_values);
            let subject = Subject::one("reduce", "sum over channels");
            trial.check(subject, &name, &sums, Within::Terms(positions), &|gpu| {
                amid(gpu, [case.narrow_c], |db| conv2d::backward_bias(gpu, &narrow, db))
            })?;
        }
        // The same arrays the other way round, where no pixel is left over; large tiles have been compiled often enough.
        let small = case.wide_c.max(case.narrow_c) <= 24;
        if let Some(whole) = case.without_rest().filter(|whole| small && whole.size == case.size) {
            let (x, dy) = (&narrow, &wide);
            let name = format!("transposed to {name}");
            let (end, end_values) = operand(gpu, 4, [case.wide_c])?;
            let sums = biased(case.wide(), spread, &end_values);
            let wanted = if clip { relu(&sums) } else { sums };
            trial.check(subject("forward", Sum::Spread), &name, &wanted, to_wide, &|gpu| {
                gpu.read(&conv2d::transpose_forward(gpu, x, &w, Some(&end), window, clip)?)
            })?;
            let wanted = whole.sum_narrow(&wide_values, &w_values);
            trial.check(subject("backward-data", Sum::Gathered), &name, &wanted, to_narrow, &|gpu| {
                amid(gpu, whole.narrow(), |dx| conv2d::transpose_backward_data(gpu, dy, &w, window, dx))
            })?;
            trial.check(
                subject("backward-weights", Sum::Weights),
                &name,
                &gradient,
                Within::Terms(positions),
                &|gpu| amid(gpu, whole.weight(), |dw| conv2d::transpose_backward_weights(gpu, x, dy, window, dw)),
            )?;
        }
    }
    Ok(())
}

/// One variant of the convolution, if the adapter can run it.
pub(super) fn convolutions(trial: &mut Trial<'_>, variant: ConvVariant) -> Result<()> {
    if !variant.runs_on(trial.gpu) {
        return Ok(());
    }
    // A table that begins with products of matrices leaves layers of few channels to the direct kernel.
    let own = match tiles::conv2d(trial.gpu)? {
        ConvVariant::Gemm => [ConvVariant::Gemm, ConvVariant::Direct],
        one => [one, ConvVariant::Naive],
    };
    let mut cases = edges().to_vec();
    // No software adapter takes it unless it is told to, and each case is seconds of compiling there.
    if variant == ConvVariant::Gemm && trial.gpu.adapter().is_software() {
        cases = edges()[1..3].to_vec();
    }
    if variant == ConvVariant::Lanes && own.contains(&ConvVariant::Subgroup) {
        cases.extend(&layers()[..1]);
    }
    if own.contains(&variant) || [ConvVariant::Naive, ConvVariant::Coop].contains(&variant) {
        cases.extend(layers());
    } else if variant == ConvVariant::Subgroup {
        // Rows whose lines are read and stored by fours; among the layers are some, too.
        cases.push(Case::new([3, 2, 5], [7, 20], 5, 1, 0));
    }
    if variant == ConvVariant::Subgroup {
        // By twos; backward-data's blocks are whole rows here, with small blocks in the second case. Forward's in the third.
        cases.extend([Case::new([2, 3, 5], [7, 14], 5, 1, 0), Case::new([2, 3, 2], [5, 4], 3, 1, 0)]);
        cases.push(Case::new([1, 2, 3], [6, 5], 5, 1, 4));
        // And whole rows of more than eight windows, where the output is pooled.
        cases.push(Case::new([1, 1, 2], [6, 22], 5, 1, 0));
    }
    if variant == ConvVariant::Winograd {
        if own.contains(&ConvVariant::Subgroup) {
            // Where it takes the place of that: as many channels as fill the tiles of its products, and more.
            cases.extend([layers()[2], Case::new([1, 36, 40], [8, 8], 3, 1, 1)]);
        }
        // Whole tiles read and written by fours, at either stride, alone and four at once (four tiles across); and both
        // paddings at stride 2, where matrices differ.
        cases.extend([Case::new([2, 3, 5], [8, 12], 3, 1, 1), Case::new([2, 5, 3], [16, 8], 3, 2, 1)]);
        cases.extend([Case::new([2, 3, 5], [8, 16], 3, 1, 1), Case::new([2, 3, 2], [9, 32], 3, 2, 1)]);
        cases.push(Case::new([1, 2, 3], [9, 11], 3, 2, 0));
    }
    cases.retain(|case| variant.has_kernels_for(case.kernel, case.window.stride));
    trial.gpu.force_variant(CONV2D, Some(variant.name()));
    let outcome = convolution(trial, variant, &cases);
    trial.gpu.force_variant(CONV2D, None);
    outcome
}

fn side(tensor: &Tensor, flip: bool) -> Operand<'_> {
    if flip { transposed(tensor) } else { plain(tensor) }
}

/// One product by one kernel.
fn multiply(gpu: &Gpu, variant: Variant, case: Product, arrays: [&Tensor; 3], ends: bool) -> Result<Vec<f32>> {
    let [a, b, bias] = arrays;
    let epilogue = Epilogue { bias: ends.then_some(bias), relu: ends };
    amid(gpu, [case.m, case.n], |out| {
        matmul::matmul_with(gpu, variant, side(a, case.flip_a), side(b, case.flip_b), epilogue, out)
    })
}

/// Matrix products: tile edges of every kernel, long sums, both transpositions, lenet's layers.
pub(super) fn products(trial: &mut Trial<'_>) -> Result<()> {
    let gpu = trial.gpu;
    let cases = [
        (1, 1, 1, false, false),
        (1, 4, 5, true, false),
        (17, 36, 33, false, false),
        (9, 260, 65, false, false),
        (3, 8, 4096, false, false),
        (8, 9, 12, false, true),
        (17, 65, 64, true, true),
        (3, 5, 4099, true, true),
        // A layer of lenet, with bias and ReLU, and its weights' gradient, without: compiled for the training, too.
        (120, 400, 16, true, false),
        (16, 120, 400, false, true),
    ];
    for (index, (m, n, k, flip_a, flip_b)) in cases.into_iter().enumerate() {
        let case = Product::new(m, n, k, flip_a, flip_b);
        let ((a, a_values), (b, b_values)) = (operand(gpu, 0, case.a_dims())?, operand(gpu, 1, case.b_dims())?);
        let (bias, bias_values) = operand(gpu, 2, [n])?;
        let flips = match (flip_a, flip_b) {
            (false, false) => "",
            (true, false) => ", first transposed",
            (false, true) => ", second transposed",
            (true, true) => ", both transposed",
        };
        // Again every constant is a kernel to compile: bias and ReLU in every second case.
        let ends = !index.is_multiple_of(2);
        let wanted = product(case, &a_values, &b_values, ends.then_some(&bias_values), ends);
        for variant in case.variants(gpu) {
            // As with the convolution's: one case plain, one with both operands transposed.
            if variant == Variant::Shared && gpu.adapter().is_software() && ![2, 7].contains(&index) {
                continue;
            }
            let kernel = match variant {
                Variant::Blocked if flip_b => "matmul_nt",
                Variant::Subgroup if flip_b => "matmul_nt_subgroup",
                _ => variant.file(),
            };
            let pass = if ends { "with bias and ReLU" } else { "product" };
            let subject = Subject { operation: MATMUL, variant: Some(variant.name()), kernel, pass };
            let name = format!("[{m}, {k}] x [{k}, {n}]{flips}");
            trial.check(subject, &name, &wanted, Within::Terms(k), &|gpu| {
                multiply(gpu, variant, case, [&a, &b, &bias], ends)
            })?;
        }
    }
    Ok(())
}
