//! A convolution and its max-pooling in one launch, each way, against two launches: to the bit. And what may stand at their ends:
//! a normalisation before them, an attack's step behind.

mod common;

use common::cases::{Place, bits, refused};
use common::{gpu, operand, random};
use shadegrad::autograd::{Tape, Var};
use shadegrad::gpu::{Gpu, Shape, Tensor, Words};
use shadegrad::ops::choices;
use shadegrad::ops::conv2d::{self, Window};
use shadegrad::ops::conv2d_max_pool::{self, POOLS_BY};
use shadegrad::ops::normalize::{self, Pending};
use shadegrad::ops::perturb::{Ball, Step};
use shadegrad::ops::pool::{max_backward, max_forward};
use shadegrad::ops::reduce::Reduction;
use shadegrad::ops::tiles::{self, ConvVariant};
use shadegrad::selftest::reference::conv2d::Case;

/// Of a case, under every variant of the convolution that this adapter can run: how often the passes each were one launch, to the
/// bits of two, with ReLU and without.
fn fused(case: Case, bias: bool, values: &[f32]) -> [usize; 2] {
    let gpu = gpu();
    let x = gpu.tensor(case.wide(), values).unwrap();
    let ((w, _), (b, _)) = (operand(&gpu, 1, case.weight()), operand(&gpu, 2, [case.narrow_c]));
    let mut found = [0; 2];
    // A variant that has no kernel for such windows leaves them to another.
    let has_kernels = |variant: &ConvVariant| variant.has_kernels_for(case.kernel, case.window.stride);
    for variant in ConvVariant::ALL.into_iter().filter(|variant| variant.runs_on(&gpu) && has_kernels(variant)) {
        gpu.force_variant(tiles::CONV2D, Some(variant.name()));
        for relu in [false, true] {
            let what = format!("{case:?} {variant:?} relu {relu}");
            found[0] += usize::from(forward(&gpu, case, (&x, &w, bias.then_some(&b)), relu, &what));
            found[1] += usize::from(backward(&gpu, case, (&x, &w), relu, &what));
        }
    }
    gpu.force_variant(tiles::CONV2D, None);
    found
}

fn forward(gpu: &Gpu, case: Case, (x, w, b): (&Tensor, &Tensor, Option<&Tensor>), relu: bool, what: &str) -> bool {
    let found = |tensor: &Tensor, words: &Words| (bits(&gpu.read(tensor).unwrap()), gpu.read_words(words).unwrap());
    let at_once = conv2d_max_pool::forward(gpu, x, w, b, case.window, relu).unwrap();
    assert_eq!(at_once.is_some(), conv2d_max_pool::has_forward(gpu, x, w, case.window).unwrap(), "{what}");
    let Some((y, winners)) = at_once else { return false };
    let convolved = conv2d::forward(gpu, x, w, b, case.window, false).unwrap();
    let (wanted, places) = max_forward(gpu, &convolved, 2, Window::new(2, 0), relu).unwrap();
    assert_eq!(y.shape(), wanted.shape(), "{what}");
    assert_eq!(found(&y, &winners), found(&wanted, &places), "{what}");

    // A normalisation whose products round nothing: whether a compiler contracts a product and a sum is its own affair.
    let spread = |values: [f32; 2]| (0..case.wide_c).map(|c| values[c % 2]).collect::<Vec<f32>>();
    let [factor, offset] = [[2.0, -4.0], [0.5, 0.25]].map(|values| gpu.tensor([case.wide_c], &spread(values)).unwrap());
    let at_once = {
        let pending = Pending::new(x, &factor, &offset).unwrap();
        conv2d_max_pool::forward(gpu, &pending, w, b, case.window, relu).unwrap().unwrap()
    };
    let made = normalize::forward(gpu, x, &factor, &offset).unwrap();
    let (wanted, places) = conv2d_max_pool::forward(gpu, &made, w, b, case.window, relu).unwrap().unwrap();
    assert_eq!(found(&at_once.0, &at_once.1), found(&wanted, &places), "{what} of a normalisation");
    true
}

fn backward(gpu: &Gpu, case: Case, (x, w): (&Tensor, &Tensor), relu: bool, what: &str) -> bool {
    let convolved = conv2d::forward(gpu, x, w, None, case.window, false).unwrap();
    if case.narrow()[2..].contains(&1) {
        return false;
    }
    let (y, winners) = max_forward(gpu, &convolved, 2, Window::new(2, 0), relu).unwrap();
    let (dy, _) = operand(gpu, 3, y.shape());
    let there = gpu.empty(case.narrow()).unwrap();
    max_backward(gpu, &dy, &winners, 2, Window::new(2, 0), &there).unwrap();
    let [wanted, found, stepped] = [0; 3].map(|_| Place::new(gpu, case.wide()));
    conv2d::backward_data(gpu, &there, w, case.window, &wanted.tensor).unwrap();
    let pooled = (&dy, &winners);
    let is_its = conv2d_max_pool::backward_data(gpu, pooled, w, case.window, None, &found.tensor).unwrap();
    assert_eq!(is_its, conv2d_max_pool::has_backward_data(gpu, x, w, case.window).unwrap(), "{what}");
    if !is_its {
        return false;
    }
    assert_eq!(bits(&found.read(gpu)), bits(&wanted.read(gpu)), "{what}");
    let pixels: Vec<f32> = random(4, x.count()).iter().map(|value| 0.5 + 0.5 * value).collect();
    let clean: Vec<f32> = pixels.iter().zip(random(5, x.count())).map(|(x, d)| x + 0.05 * d).collect();
    let (pixels, clean) = (gpu.tensor(case.wide(), &pixels).unwrap(), gpu.tensor(case.wide(), &clean).unwrap());
    for ball in [None, Some(Ball { centre: &clean, eps: 0.04 })] {
        let step = Step { x: &pixels, length: -0.03, ball };
        let one = conv2d_max_pool::backward_data(gpu, pooled, w, case.window, Some(step), &stepped.tensor).unwrap();
        let two = gpu.read(&step.along(gpu, &wanted.tensor).unwrap()).unwrap();
        assert!(one && bits(&stepped.read(gpu)) == bits(&two), "{what}: a step, ball {}", ball.is_some());
    }
    true
}

#[test]
fn a_convolution_and_its_pooling_are_one_launch_to_the_bits_of_two() {
    let can = ConvVariant::Subgroup.runs_on(&gpu());
    for (index, (case, fits)) in [
        (Case::new([2, 3, 6], [32, 32], 5, 1, 0), true), // lenet's, by fours and by twos
        (Case::new([2, 6, 16], [14, 14], 5, 1, 0), true),
        (Case::new([3, 2, 5], [7, 20], 5, 1, 0), true), // the last row is in no window
        (Case::new([8, 2, 3], [12, 36], 5, 1, 0), true), // as many pictures as lanes, and rows of two words of winners
        (Case::new([16, 1, 2], [6, 14], 3, 1, 0), true),
        (Case::new([1, 5, 3], [5, 4], 3, 1, 0), true), // one window
        (Case::new([2, 3, 7], [8, 8], 5, 1, 2), true),
        (Case::new([1, 2, 3], [6, 6], 5, 1, 4), true), // blocks that are whole rows, padding and all
        (Case::new([1, 2, 3], [9, 40], 3, 1, 2), true),
        (Case::new([1, 1, 2], [16, 28], 13, 1, 0), true), // more than eight windows to a line
        (Case::new([1, 27, 25], [6, 12], 5, 1, 0), true), // more weights than a uniform buffer has room for
        (Case::new([1, 29, 23], [6, 8], 5, 1, 0), true),  // and by fours
        (Case::new([2, 3, 4], [10, 11], 5, 1, 0), false), // an odd width
        (Case::new([2, 3, 4], [12, 12], 3, 2, 1), false),
    ]
    .into_iter()
    .enumerate()
    {
        let count = case.wide().iter().product();
        let many = fused(case, index.is_multiple_of(2), &random(0, count));
        assert_eq!(many, if fits && can { [2; 2] } else { [0; 2] }, "{case:?}");
        // Equal sums, sums that are infinite, and sums that are no number.
        let mut odd = vec![0.0; count];
        (odd[0], odd[count / 2], odd[count - 1]) = (f32::INFINITY, f32::NAN, -1.0);
        fused(case, true, &odd);
    }
}

#[test]
fn gradients_that_are_not_finite_go_where_they_would_go_by_two_launches() {
    let gpu = gpu();
    if ConvVariant::Subgroup.runs_on(&gpu) {
        gpu.force_variant(tiles::CONV2D, Some(ConvVariant::Subgroup.name()));
    }
    let case = Case::new([1, 2, 3], [8, 12], 5, 1, 0);
    let ((x, _), (w, _)) = (operand(&gpu, 0, case.wide()), operand(&gpu, 1, case.weight()));
    let convolved = conv2d::forward(&gpu, &x, &w, None, case.window, false).unwrap();
    let (y, winners) = max_forward(&gpu, &convolved, 2, Window::new(2, 0), true).unwrap();
    let mut slopes = random(3, y.count());
    (slopes[1], slopes[9], slopes[17]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    let dy = gpu.tensor(y.shape(), &slopes).unwrap();
    let [there, wanted, found] = [case.narrow(), case.wide(), case.wide()].map(|dims| gpu.empty(dims).unwrap());
    max_backward(&gpu, &dy, &winners, 2, Window::new(2, 0), &there).unwrap();
    conv2d::backward_data(&gpu, &there, &w, case.window, &wanted).unwrap();
    let is_its = conv2d_max_pool::backward_data(&gpu, (&dy, &winners), &w, case.window, None, &found).unwrap();
    gpu.force_variant(tiles::CONV2D, None);
    assert_eq!(is_its, ConvVariant::Subgroup.runs_on(&gpu));
    if !is_its {
        return;
    }
    let [wanted, found] = [wanted, found].map(|tensor| gpu.read(&tensor).unwrap());
    let finite = wanted.iter().filter(|slope| slope.is_finite()).count();
    assert!(finite > 0 && finite < wanted.len(), "{finite}");
    for (wanted, found) in wanted.iter().zip(&found) {
        assert!(wanted.to_bits() == found.to_bits() || (wanted.is_nan() && found.is_nan()), "{wanted} {found}");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let gpu = gpu();
    let zeros = |dims: [usize; 4]| gpu.zeros(dims).unwrap();
    let (x, w, dy) = (zeros([1, 2, 12, 12]), zeros([3, 2, 5, 5]), zeros([1, 3, 4, 4]));
    let winners = |count: usize| gpu.words(&vec![0; count]).unwrap();
    let window = Window::new(1, 0);
    let backward = |dy: &Tensor, winners: &Words, step: Option<Step<'_>>| {
        conv2d_max_pool::backward_data(&gpu, (dy, winners), &w, window, step, &x)
    };
    refused(backward(&zeros([1, 3, 8, 8]), &winners(192), None), &["backward_data", "[1, 3, 8, 8]", "[1, 3, 4, 4]"]);
    refused(backward(&dy, &winners(47), None), &["backward_data", "47 winners", "[1, 3, 4, 4]"]);
    let step = |x, length| Some(Step { x, length, ball: None });
    refused(backward(&dy, &winners(48), step(&dy, 0.1)), &["perturb", "[1, 3, 4, 4]", "[1, 2, 12, 12]"]);
    refused(backward(&dy, &winners(48), step(&x, f32::NAN)), &["perturb", "NaN"]);
    refused(conv2d_max_pool::forward(&gpu, &dy, &w, None, window, true), &["conv2d", "[_, 3, k, k]"]);
    refused(Pending::new(&x, &zeros([1, 1, 1, 2]), &zeros([1, 1, 1, 2])), &["normalize", "factor", "[2]"]);
}

/// With another convolution or pooling the tape takes two launches; either way gradients are those of two operations.
#[test]
fn a_tape_takes_a_convolution_and_its_pooling_together() {
    let gpu = gpu();
    let launches = |name: &str| gpu.dispatch_counts().get(name).copied().unwrap_or(0);
    for (size, kernel, pooling, fits) in [
        ([16, 16], 2, Window::new(2, 0), true),
        ([15, 16], 2, Window::new(2, 0), true), // the gradient's last row meets no window
        ([16, 16], 3, Window::new(2, 1), false),
        ([15, 15], 2, Window::new(2, 0), false),
    ] {
        let case = Case::new([2, 3, 5], size, 5, 1, 0);
        let own = choices::convolution("forward", [3, 5], 5, 1, size[1] - 4);
        let is_its = fits && tiles::conv2d_at(&gpu, own).unwrap().0 == ConvVariant::Subgroup;
        let values = [(0, case.wide().into()), (1, case.weight().into()), (2, Shape::from([case.narrow_c]))];
        let [x, w, b] = values.map(|(item, shape): (u32, Shape)| operand(&gpu, item, shape).0);
        // With bias and ReLU or without, and gradients of all leaves, of the weights, of the pixels.
        for (bias, relu, wanted) in [(true, true, 0..3), (false, false, 0..2), (true, false, 1..3), (true, true, 0..1)]
        {
            let run = |tape: &Tape, together: bool| {
                let leaves = [&x, &w, &b].map(|tensor| tape.leaf(tensor));
                let (x, w, b) = (leaves[0], leaves[1], bias.then_some(leaves[2]));
                let y = if together {
                    tape.conv2d_max_pool((x, w, b, case.window), kernel, pooling, relu).unwrap()
                } else {
                    let convolved = tape.conv2d(x, w, b, case.window, false).unwrap();
                    tape.max_pool(convolved, kernel, pooling, relu).unwrap()
                };
                (leaves, y)
            };
            let gradients = |together: bool| {
                let tape = Tape::new(&gpu);
                let (leaves, y) = run(&tape, together);
                let found = tape.backward(tape.multiply(y, y).unwrap(), &leaves[wanted.clone()]).unwrap();
                let found = leaves.map(|leaf| found.of(leaf).map(|gradient| gpu.read(gradient).unwrap()));
                (gpu.read(&tape.value(y).unwrap()).unwrap(), found)
            };
            let names = ["conv2d_max_pool", "conv2d", "conv2d_max_pool_backward"];
            let before = names.map(launches);
            let (y, together) = gradients(true);
            let after = names.map(launches);
            assert_eq!(after[0] - before[0], u64::from(is_its), "{case:?}");
            assert!(!is_its || after[1] == before[1]);
            // Back, too, where the pixels' gradient is all that is wanted.
            let own = choices::convolution("backward-data", [5, 3], 5, 1, size[1]);
            let its_back = is_its && tiles::conv2d_at(&gpu, own).unwrap().0 == ConvVariant::Subgroup;
            assert_eq!(after[2] - before[2], u64::from(its_back && wanted == (0..1)), "{case:?} {wanted:?}");
            assert_eq!(together.iter().filter(|gradient| gradient.is_some()).count(), wanted.len());
            assert_eq!((y, together), gradients(false), "{case:?} bias {bias} relu {relu} {wanted:?}");
        }
        // A tape that keeps nothing finds the same.
        let values = [Tape::new(&gpu), Tape::evaluation(&gpu)].map(|tape| {
            let [x, w, b] = [&x, &w, &b].map(|tensor| tape.leaf(tensor));
            let y = tape.conv2d_max_pool((x, w, Some(b), case.window), kernel, pooling, true).unwrap();
            gpu.read(&tape.value(y).unwrap()).unwrap()
        });
        assert_eq!(values[0], values[1]);
    }
}

/// Pixels, a normalisation, a convolution with its pooling, and a sum of squares.
struct Chain {
    tape: Tape,
    /// Pixels, normalised pixels, weight, bias.
    vars: [Var; 4],
    loss: Var,
}

/// `asked` asks for the normalised pixels before the convolution does.
fn chain(asked: bool) -> Chain {
    let gpu = gpu();
    let case = Case::new([2, 3, 5], [16, 16], 5, 1, 0);
    let tape = Tape::new(&gpu);
    let pixels: Vec<f32> = random(0, 2 * 3 * 256).iter().map(|value| 0.5 + 0.5 * value).collect();
    let x = tape.leaf(&gpu.tensor(case.wide(), &pixels).unwrap());
    let vector = |values: [f32; 3]| gpu.tensor([3], &values).unwrap();
    let normalized =
        tape.normalize(x, &vector([2.0, 4.0, 0.5]), &vector([-0.5, -1.0, 0.0]), &vector([0.0; 3])).unwrap();
    if asked {
        tape.value(normalized).unwrap();
    }
    let [w, b] = [(1, case.weight().into()), (2, Shape::from([5]))]
        .map(|(item, shape): (u32, Shape)| tape.leaf(&operand(&gpu, item, shape).0));
    let y = tape.conv2d_max_pool((normalized, w, Some(b), case.window), POOLS_BY.0, POOLS_BY.1, true).unwrap();
    let loss = tape.multiply(y, y).unwrap();
    Chain { tape, vars: [x, normalized, w, b], loss }
}

/// Whether this adapter's own kernels make [`Chain`] one launch, there and back.
fn is_fused() -> [bool; 2] {
    let gpu = gpu();
    [("forward", [3, 5], 12), ("backward-data", [5, 3], 16)].map(|(pass, channels, width)| {
        tiles::conv2d_at(&gpu, choices::convolution(pass, channels, 5, 1, width)).unwrap().0 == ConvVariant::Subgroup
    })
}

fn launches(names: &[&str]) -> Vec<u64> {
    let counts = gpu().dispatch_counts();
    names.iter().map(|name| counts.get(name).copied().unwrap_or(0)).collect()
}

#[test]
fn a_normalisation_that_a_convolution_reads_is_not_made_and_gradients_are_the_same() {
    let gpu = gpu();
    let found = |asked: bool, wanted: &[usize]| {
        let Chain { tape, vars, loss } = chain(asked);
        let leaves: Vec<Var> = wanted.iter().map(|&index| vars[index]).collect();
        let gradients = tape.backward(loss, &leaves).unwrap();
        let read = |tensor: &Tensor| bits(&gpu.read(tensor).unwrap());
        let slopes: Vec<_> = vars.iter().map(|var| gradients.of(*var).map(read)).collect();
        (read(&tape.value(loss).unwrap()), slopes)
    };
    for wanted in [&[0][..], &[1], &[0, 1], &[2, 3], &[0, 2], &[0, 1, 2, 3]] {
        let before = launches(&["normalize"]);
        let lazy = found(false, wanted);
        let made = launches(&["normalize"])[0] - before[0];
        assert_eq!(lazy, found(true, wanted), "{wanted:?}");
        // Forward only where it is not read as pixels; backward for the pixels; and again for the weight's gradient.
        let forward = u64::from(!is_fused()[0]);
        let [by_pixels, by_weight] = [0, 2].map(|var| u64::from(wanted.contains(&var)));
        assert_eq!(made, forward + by_pixels + by_weight * (1 - forward), "{wanted:?}");
        let there: Vec<usize> = (0..4).filter(|&index| lazy.1[index].is_some()).collect();
        assert_eq!(there, wanted, "what is found is what was asked for");
    }
}

#[test]
fn a_step_is_that_along_the_gradient_whoever_takes_it() {
    let gpu = gpu();
    let out = gpu.empty([2, 3, 16, 16]).unwrap();
    // Of the normalised pixels in one launch; of the pixels, through the normalisation; and of what goes into two operations.
    for (var, twice) in [(1, false), (0, false), (1, true)] {
        for with_ball in [false, true] {
            let Chain { tape, vars, loss } = chain(false);
            let pixels = tape.value(vars[0]).unwrap();
            let clean = gpu.filled(pixels.shape(), 0.5).unwrap();
            let ball = with_ball.then_some(Ball { centre: &clean, eps: 0.25 });
            let step = Step { x: &pixels, length: 0.03, ball };
            let loss = if twice {
                let sum = |var| tape.reduce(tape.flatten(var).unwrap(), Reduction::Sum, 1).unwrap();
                tape.add(sum(loss), sum(vars[1])).unwrap()
            } else {
                loss
            };
            let before = launches(&["conv2d_max_pool_step", "perturb"]);
            tape.backward_step(loss, vars[var], step, &out).unwrap();
            let after = launches(&["conv2d_max_pool_step", "perturb"]);
            let at_once = u64::from(is_fused() == [true; 2] && var == 1 && !twice);
            assert_eq!([after[0] - before[0], after[1] - before[1]], [at_once, 1 - at_once], "{var} {twice}");
            let gradients = tape.backward(loss, &[vars[var]]).unwrap();
            let wanted = step.along(&gpu, gradients.of(vars[var]).unwrap()).unwrap();
            let [found, wanted] = [&out, &wanted].map(|tensor| gpu.read(tensor).unwrap());
            assert_eq!(bits(&found), bits(&wanted), "{var} {twice} {with_ball}");
            assert!(found != gpu.read(&pixels).unwrap());
        }
    }
    let Chain { tape, vars, loss } = chain(false);
    let other = tape.leaf(&out);
    let pixels = tape.value(vars[0]).unwrap();
    refused(tape.backward_step(loss, other, Step { x: &pixels, length: 0.1, ball: None }, &out), &["does not depend"]);
}
