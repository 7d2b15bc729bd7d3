//! Attacks: PyTorch's FGSM pixel by pixel, the promises that hold of each, the kernels that must not run, both
//! conventions, and what becomes of a trained model.

mod common;
#[path = "common/trained.rs"]
mod trained;

use std::collections::BTreeMap;

use common::cases::bits;
use common::gpu;
use safetensors::SafeTensors;
use shadegrad::attack::{
    AttackError, Attacker, Bim, Convention, Method, MiFgsm, Pgd, RFgsm, Target, fgsm_into, input_gradient, logits,
};
use shadegrad::autograd::Tape;
use shadegrad::data::{Images, SIZE, few_shapes};
use shadegrad::gpu::{Gpu, Tensor};
use shadegrad::lab::attack::{Plan, attacks};
use shadegrad::lab::results::Variant;
use shadegrad::models::architecture;
use shadegrad::nn::{Architecture, Layer, Mode, Network, Task};
use shadegrad::ood::scores;
use shadegrad::ops::conv2d::Window;
use shadegrad::ops::perturb::Step;
use shadegrad::random::{Purpose, Stream};
use trained::trained;

const CLASSES: usize = 10;

fn lenet(gpu: &Gpu) -> Network {
    Network::new(gpu, architecture("lenet").unwrap(), 7).unwrap()
}

/// The pictures of `golden/attack_golden.py`.
fn made_bytes(count: u32) -> Vec<u8> {
    let picture = |index: u32| {
        let mut stream = Stream::new(7, Purpose::Test, 3000 + index);
        (0..SIZE).map(move |_| ((stream.next_word() >> 24) as i32 * 5 / 4 - 32).clamp(0, 255) as u8)
    };
    (0..count).flat_map(picture).collect()
}

fn upload(gpu: &Gpu, bytes: &[u8]) -> Tensor {
    let pixels: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    gpu.tensor([bytes.len() / SIZE, 3, 32, 32], &pixels).unwrap()
}

fn made(gpu: &Gpu, count: u32) -> (Tensor, Vec<u8>) {
    (upload(gpu, &made_bytes(count)), (0..count).map(|index| (index % 10) as u8).collect())
}

#[test]
fn fgsm_is_pytorchs_pixel_by_pixel() {
    let (gpu, bytes) = (gpu(), made_bytes(16));
    let golden = SafeTensors::deserialize(include_bytes!("golden/golden_attack.safetensors")).unwrap();
    let table: Vec<f32> = bytemuck::pod_collect_to_vec(golden.tensor("pixels").unwrap().data());
    let network = lenet(&gpu);
    let (x, labels) = made(&gpu, 16);
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 0).unwrap();
    let batch = attacker.batch(&x, &labels, 0).unwrap();
    let least: Vec<u8> = batch.wanted(Target::LeastLikely).unwrap().into_iter().map(|class| class as u8).collect();
    assert_eq!(least, golden.tensor("least_likely").unwrap().data());

    let (mut different, mut all) = (0, 0);
    for (target, name) in
        [(Target::Untargeted, "untargeted"), (Target::Next, "next"), (Target::LeastLikely, "least_likely")]
    {
        let packed = golden.tensor(&format!("signs.{name}")).unwrap();
        let signs: Vec<i32> =
            packed.data().iter().flat_map(|byte| [0, 2, 4, 6].map(|shift| i32::from(byte >> shift & 3) - 1)).collect();
        let direction = if target == Target::Untargeted { 1 } else { -1 };
        let aim = batch.aim(target).unwrap();
        let gradient = batch.gradient(&aim).unwrap();
        let slopes = gpu.read(&gradient).unwrap();
        for (row, eps) in [1.0, 2.0, 4.0, 8.0].into_iter().enumerate() {
            let found = gpu.read(&batch.fgsm(&aim, &gradient, eps / 255.0).unwrap()).unwrap();
            for (at, &found) in found.iter().enumerate() {
                let column = (direction * signs[at] + 1) as usize;
                let wanted = table[(3 * row + column) * 256 + usize::from(bytes[at])];
                all += 1;
                if found.to_bits() != wanted.to_bits() {
                    different += 1;
                    let picture = &slopes[at / SIZE * SIZE..(at / SIZE + 1) * SIZE];
                    let largest = picture.iter().fold(0.0f32, |most, slope| most.max(slope.abs()));
                    assert!(
                        slopes[at].abs() <= 1e-5 * largest,
                        "{name}, eps {eps}/255, element {at}: {found}, not {wanted}, with a gradient of {} of {largest}",
                        slopes[at]
                    );
                }
            }
        }
    }
    println!("{different} of {all} pixels differ from PyTorch's: {:.2e}", f64::from(different) / f64::from(all));
    assert!(different * 1000 < all, "{different} of {all} pixels differ");
}

/// What every attack promises, looked at from outside.
fn assert_promises(what: &str, clean: &[f32], moved: &[f32], eps: f64) {
    if eps == 0.0 {
        assert_eq!(bits(clean), bits(moved), "{what}: eps = 0 moves nothing");
    }
    for (&before, &after) in clean.iter().zip(moved) {
        assert!((0.0..=1.0).contains(&after), "{what}: {after}");
        assert!((f64::from(after) - f64::from(before)).abs() <= eps + 1.2e-7, "{what}: {before} became {after}");
    }
}

/// The mean cross-entropy of `x` with `labels`.
fn loss(gpu: &Gpu, network: &Network, x: &Tensor, labels: &[usize]) -> f64 {
    let values = logits(gpu, network, x).unwrap();
    let rows = values.chunks_exact(CLASSES).zip(labels);
    rows.map(|(row, &label)| scores::energy(row, 1.0) - f64::from(row[label])).sum::<f64>() / labels.len() as f64
}

#[test]
fn every_attack_keeps_its_promises_and_goes_where_it_should() {
    let gpu = gpu();
    let network = lenet(&gpu);
    let (x, labels) = made(&gpu, 12);
    let before = network.state(&gpu).unwrap();
    let clean = gpu.read(&x).unwrap();
    let methods = [
        Method::Fgsm,
        Method::Pgd(Pgd::new(3)),
        Method::Bim(Bim { steps: 4, step_size: Some(0.02) }),
        Method::Pgd(Pgd { restarts: 3, ..Pgd::new(2) }),
        Method::RFgsm(RFgsm::default()),
        Method::MiFgsm(MiFgsm { steps: 3, ..MiFgsm::default() }),
        Method::Pgd(Pgd { step_size: Some(1.0), ..Pgd::new(1) }),
    ];
    for convention in [Convention::Pixels, Convention::Lab] {
        let attacker = Attacker::new(&gpu, &network, convention, 3).unwrap();
        let batch = attacker.batch(&x, &labels, 0).unwrap();
        for method in methods {
            for target in [Target::Untargeted, Target::Next, Target::LeastLikely, Target::Class(4)] {
                let wanted = batch.wanted(target).unwrap();
                for eps in [0.0, 8.0 / 255.0] {
                    let what = format!("{method:?} {target:?} {convention:?} {eps:.3}");
                    let moved = batch.attack(method, target, eps).unwrap();
                    assert_promises(&what, &clean, &gpu.read(&moved).unwrap(), convention.in_pixels(eps));
                    let change = loss(&gpu, &network, &moved, &wanted) - loss(&gpu, &network, &x, &wanted);
                    let up = target == Target::Untargeted;
                    assert!(eps == 0.0 || (change > 0.0) == up, "{what}: the loss changes by {change}");
                }
            }
        }
        drop(batch);
        attacker.finish().unwrap();
    }
    for ((name, _, before), (.., after)) in before.iter().zip(network.state(&gpu).unwrap()) {
        assert_eq!(bits(before), bits(&after), "{name}");
    }
}

#[test]
fn the_lab_counts_epsilon_on_twice_the_range() {
    let gpu = gpu();
    let network = lenet(&gpu);
    let (x, labels) = made(&gpu, 4);
    let run = |convention, eps| {
        let attacker = Attacker::new(&gpu, &network, convention, 0).unwrap();
        let moved = attacker.batch(&x, &labels, 0).unwrap().attack(Method::Fgsm, Target::Untargeted, eps).unwrap();
        bits(&gpu.read(&moved).unwrap())
    };
    assert_eq!(run(Convention::Lab, 2.0 / 255.0), run(Convention::Pixels, 1.0 / 255.0));
    assert_ne!(run(Convention::Lab, 2.0 / 255.0), run(Convention::Pixels, 2.0 / 255.0));
}

/// A network with layers that training mode changes, or that change with it.
fn moody(gpu: &Gpu) -> Network {
    let layers = vec![
        Layer::Conv2d {
            name: "c".into(),
            channels: [3, 4],
            kernel: 3,
            window: Window::new(2, 1),
            bias: true,
            relu: true,
        },
        Layer::BatchNorm { name: "b".into(), channels: 4, scale: true },
        Layer::Dropout { rate: 0.5 },
        Layer::Flatten,
        Layer::Linear { name: "l".into(), features: [1024, 10], bias: true, relu: false },
    ];
    let plan = Architecture { name: "moody".into(), task: Task::Classify, input: [3, 32, 32], layers };
    Network::new(gpu, plan, 5).unwrap()
}

#[test]
fn running_statistics_stay_where_they_were_in_either_mode() {
    let gpu = gpu();
    let network = moody(&gpu);
    let (x, labels) = made(&gpu, 6);
    let all = |network: &Network| -> Vec<u32> {
        network.state(&gpu).unwrap().iter().flat_map(|(.., values)| bits(values)).collect()
    };
    let before = all(&network);
    let mut found = Vec::new();
    for convention in [Convention::Pixels, Convention::Lab] {
        for method in [Method::Fgsm, Method::Pgd(Pgd::new(2))] {
            let attacker = Attacker::new(&gpu, &network, convention, 0).unwrap();
            let batch = attacker.batch(&x, &labels, 0).unwrap();
            // What the model says of a picture is its evaluation's, whichever mode it is attacked in.
            assert_eq!(bits(batch.logits()), bits(&logits(&gpu, &network, &x).unwrap()));
            let eps = if convention == Convention::Lab { 0.04 } else { 0.02 };
            found.push(gpu.read(&batch.attack(method, Target::Untargeted, eps).unwrap()).unwrap());
            drop(batch);
            attacker.finish().unwrap();
            assert_eq!(all(&network), before, "{convention:?} {method:?}");
        }
    }
    assert_ne!(bits(&found[0]), bits(&found[2]), "training mode has another gradient");
}

/// Launches by kernel name of `work`.
fn launches(gpu: &Gpu, work: impl FnOnce()) -> BTreeMap<&'static str, u64> {
    let before = gpu.dispatch_counts();
    work();
    let mut counts = gpu.dispatch_counts();
    counts.retain(|name, count| {
        *count -= before.get(name).copied().unwrap_or(0);
        *count > 0
    });
    counts
}

#[test]
fn no_kernel_of_a_weight_gradient_runs() {
    let gpu = gpu();
    let of_weights = |counts: &BTreeMap<&str, u64>| {
        counts.keys().any(|name| name.contains("weights") || name.contains("reduce") || name.contains("bias"))
    };
    let products = |counts: &BTreeMap<&str, u64>| -> u64 {
        counts.iter().filter(|(name, _)| name.starts_with("matmul")).map(|(_, count)| count).sum()
    };
    for model in ["lenet", "lab"] {
        let network = Network::new(&gpu, architecture(model).unwrap(), 7).unwrap();
        gpu.fill(network.parameters().flat_gradients(), 5.0).unwrap();
        let (x, labels) = made(&gpu, 2);
        let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 0).unwrap();
        let fgsm = launches(&gpu, || {
            attacker.batch(&x, &labels, 0).unwrap().attack(Method::Fgsm, Target::Next, 0.1).unwrap();
        });
        assert!(!of_weights(&fgsm), "{model}: {fgsm:?}");
        // Three linear layers, each forward and back to its input; a convolution's products go by its own name.
        assert_eq!(products(&fgsm), 6, "{model}: {fgsm:?}");
        assert_eq!(fgsm["perturb"], 1);
        // Nobody asks for the loss.
        let is_quiet = |counts: &BTreeMap<&str, u64>| !counts.contains_key("cross_entropy");
        assert!(is_quiet(&fgsm), "{model}: {fgsm:?}");
        if model == "lab" {
            // The rest is the same there, and slow.
            continue;
        }
        let pgd = launches(&gpu, || {
            let batch = attacker.batch(&x, &labels, 0).unwrap();
            batch.attack(Method::Pgd(Pgd::new(3)), Target::Untargeted, 0.1).unwrap();
        });
        assert!(!of_weights(&pgd) && is_quiet(&pgd), "{model}: {pgd:?}");
        // A step alone, or taken by the convolution whose backward pass ends at the pixels.
        let steps: u64 = ["perturb", "conv2d_max_pool_step"].iter().filter_map(|name| pgd.get(name)).sum();
        assert_eq!((products(&pgd), steps, pgd["random_start"]), (3 + 3 * 6, 3, 1), "{model}: {pgd:?}");
        assert!(gpu.read(network.parameters().flat_gradients()).unwrap().iter().all(|&slope| slope == 5.0));

        // The names are those that a training step launches.
        let training = launches(&gpu, || {
            let tape = Tape::new(&gpu);
            let bound = network.bind(&tape).unwrap();
            let output = network.forward(&tape, &bound, tape.leaf(&x), Mode::Evaluation).unwrap();
            let loss = tape.cross_entropy(output, &gpu.words(&[0, 1]).unwrap(), 0.0).unwrap();
            tape.backward(loss, bound.leaves()).unwrap();
        });
        assert!(of_weights(&training) && products(&training) == 9, "{model}: {training:?}");
    }
}

#[test]
fn the_gradient_does_not_depend_on_the_batch_size() {
    let gpu = gpu();
    let network = lenet(&gpu);
    let (x, _) = made(&gpu, 8);
    let labels: Vec<u32> = (0..8).collect();
    let all = gpu.read(&input_gradient(&gpu, &network, &x, &gpu.words(&labels).unwrap(), Mode::Evaluation).unwrap());
    let one = x.slice(5 * SIZE, [1, 3, 32, 32]).unwrap();
    let alone = gpu.read(&input_gradient(&gpu, &network, &one, &gpu.words(&[5]).unwrap(), Mode::Evaluation).unwrap());
    let (all, alone) = (&all.unwrap()[5 * SIZE..6 * SIZE], alone.unwrap());
    let largest = alone.iter().fold(0.0f32, |most, slope| most.max(slope.abs()));
    for (together, alone) in all.iter().zip(&alone) {
        assert!((together - alone).abs() <= 1e-5 * largest, "{together} in the batch, {alone} alone");
    }
    // A random start is the picture's own, too.
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 1).unwrap();
    let start = Method::Pgd(Pgd::new(0));
    let run = |x: &Tensor, labels: &[u8], first| {
        let moved = attacker.batch(x, labels, first).unwrap().attack(start, Target::Untargeted, 0.1).unwrap();
        bits(&gpu.read(&moved).unwrap())
    };
    let together = run(&x, &[0, 1, 2, 3, 4, 5, 6, 7], 100);
    assert_eq!(&together[5 * SIZE..6 * SIZE], run(&one, &[5], 105));
}

/// Attacks that want no more than signs take the gradient by the normalised pixels.
#[test]
fn signs_found_beyond_the_normalisation_are_the_gradients() {
    let gpu = gpu();
    let (x, _) = made(&gpu, 4);
    let labels = gpu.words(&[3, 1, 4, 1]).unwrap();
    for model in ["lenet", "fast"] {
        let network = Network::new(&gpu, architecture(model).unwrap(), 7).unwrap();
        let gradient = input_gradient(&gpu, &network, &x, &labels, Mode::Evaluation).unwrap();
        assert!(gpu.read(&gradient).unwrap().iter().any(|&slope| slope != 0.0));
        let step = Step { x: &x, length: 0.03, ball: None };
        let wanted = gpu.read(&step.along(&gpu, &gradient).unwrap()).unwrap();
        let out = gpu.empty(x.shape()).unwrap();
        fgsm_into(&gpu, &network, &x, &labels, 0.03, &out).unwrap();
        assert_eq!(bits(&gpu.read(&out).unwrap()), bits(&wanted), "{model}");
        // One step of PGD from the picture itself, in either mode.
        for convention in [Convention::Pixels, Convention::Lab] {
            let attacker = Attacker::new(&gpu, &network, convention, 1).unwrap();
            let batch = attacker.batch(&x, &[3, 1, 4, 1], 0).unwrap();
            let one = Method::Bim(Bim { steps: 1, step_size: Some(0.03) });
            let [bim, fgsm] = [one, Method::Fgsm]
                .map(|method| bits(&gpu.read(&batch.attack(method, Target::Untargeted, 0.03).unwrap()).unwrap()));
            let away = bim.iter().zip(&fgsm).filter(|(bim, fgsm)| bim.abs_diff(**fgsm) > 1).count();
            // The ball's border is x + eps rounded, as FGSM's own step is, or one value beside it.
            assert_eq!(away, 0, "{model}, {}", convention.name());
        }
    }
}

#[test]
fn what_cannot_be_attacked_is_said() {
    let gpu = gpu();
    let (x, labels) = made(&gpu, 2);
    let autoencoder = Network::new(&gpu, architecture("ae3").unwrap(), 0).unwrap();
    let error = Attacker::new(&gpu, &autoencoder, Convention::Pixels, 0).err().unwrap();
    assert!(error.to_string().contains("ae3") && error.to_string().contains("classifier"), "{error}");

    let network = lenet(&gpu);
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 0).unwrap();
    assert!(matches!(attacker.batch(&x, &[0, 10], 0), Err(AttackError::NoSuchClass { class: 10, classes: 10 })));
    assert!(attacker.batch(&x, &[0], 0).err().unwrap().to_string().contains("1 labels"));
    let batch = attacker.batch(&x, &labels, 40).unwrap();
    assert!(matches!(batch.wanted(Target::Class(10)), Err(AttackError::NoSuchClass { class: 10, .. })));
    for eps in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
        let error = batch.attack(Method::Fgsm, Target::Untargeted, eps).err().unwrap();
        assert!(matches!(error, AttackError::Size { what: "eps", .. }), "{error}");
    }
    let step = Method::Pgd(Pgd { step_size: Some(-1.0), ..Pgd::new(1) });
    assert!(batch.attack(step, Target::Next, 0.1).err().unwrap().to_string().contains("step size"));
    drop(batch);

    // Broken weights have no gradient to follow: they must not pass for a model that withstands.
    let bias = network.parameters().value(1).unwrap();
    let batch = attacker.batch(&x, &labels, 40).unwrap();
    gpu.write(&bias, &[0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0]).unwrap();
    for error in [attacker.batch(&x, &labels, 40).err().unwrap(), batch.logits_of(&x).err().unwrap()] {
        assert!(matches!(error, AttackError::NotFinite { image: 40 }), "{error}");
    }
    drop(batch);
    let error = attacker.finish().err().unwrap();
    assert!(error.to_string().contains("conv1.bias"), "{error}");
}

#[test]
fn a_gradient_that_overflows_is_said_though_the_logits_are_well() {
    let gpu = gpu();
    let layers =
        vec![Layer::Flatten, Layer::Linear { name: "l".into(), features: [3072, CLASSES], bias: true, relu: false }];
    let plan = Architecture { name: "steep".into(), task: Task::Classify, input: [3, 32, 32], layers };
    let network = Network::new(&gpu, plan, 0).unwrap();
    // On black pictures every logit is 0, and the gradient 0.9 x the sum of two such numbers.
    let steep: Vec<f32> = (0..CLASSES * 3072).map(|at| if at < 3072 { -3e38 } else { 3e38 }).collect();
    gpu.write(&network.parameters().value(0).unwrap(), &steep).unwrap();
    gpu.fill(&network.parameters().value(1).unwrap(), 0.0).unwrap();
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 0).unwrap();
    let batch = attacker.batch(&gpu.zeros([2, 3, 32, 32]).unwrap(), &[0, 0], 40).unwrap();
    for method in [Method::Fgsm, Method::Pgd(Pgd { random_start: false, ..Pgd::new(1) })] {
        let error = batch.attack(method, Target::Untargeted, 0.1).err().unwrap();
        assert!(matches!(error, AttackError::NotFinite { image: 40 }), "{error}");
    }
}

#[test]
fn the_labs_experiment_counts_what_it_says() {
    let (gpu, images) = (gpu(), few_shapes(64, 0).train);
    let network = trained(&gpu, &images);
    let variant = Variant { name: "baseline".to_owned(), eps: 0.0 };
    let eps = vec![1.0 / 255.0, 4.0 / 255.0];
    let plan = Plan { pgd_images: 64, victims: 3, ..Plan::new(eps.clone(), 8.0 / 255.0) };
    let (mut last, mut work) = (0, 0);
    let found = attacks(&gpu, &network, &images, CLASSES, (&variant, 1), &plan, |done, all| {
        assert!(done > last && done <= all);
        (last, work) = (done, all);
    })
    .unwrap();
    assert_eq!((last, work), (64 * (2 * (2 + 10) + 10), 64 * (2 * (2 + 10) + 10)));
    assert_eq!((found.images, found.seed, found.convention.as_str()), (64, 1, "pixels"));
    assert!(found.clean_accuracy > 0.5, "{}", found.clean_accuracy);

    // Once more by hand.
    let x = upload(&gpu, &images.bytes);
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 1).unwrap();
    let batch = attacker.batch(&x, &images.labels, 0).unwrap();
    let classes = |x: &Tensor| shadegrad::lab::evaluate::predictions(&logits(&gpu, &network, x).unwrap(), CLASSES);
    let label = |at: usize| usize::from(images.labels[at]);
    let before = classes(&x);
    let right: Vec<usize> = (0..64).filter(|&at| before[at] == label(at)).collect();
    assert_eq!(found.clean_accuracy, right.len() as f64 / 64.0);
    let share = |count: usize| count as f64 / right.len() as f64;
    for (facts, eps) in found.by_eps.iter().zip(eps) {
        let after = classes(&batch.attack(Method::Fgsm, Target::Untargeted, eps).unwrap());
        assert_eq!(facts.eps, eps);
        assert_eq!(facts.accuracy, (0..64).filter(|&at| after[at] == label(at)).count() as f64 / 64.0);
        assert_eq!(facts.success, share(right.iter().filter(|&&at| after[at] != label(at)).count()));
        let after = classes(&batch.attack(Method::Fgsm, Target::Next, eps).unwrap());
        let hits = right.iter().filter(|&&at| after[at] == (label(at) + 1) % CLASSES).count();
        assert_eq!(facts.targeted_success, share(hits));
        let pgd = facts.pgd_accuracy.unwrap();
        assert!(pgd <= facts.accuracy && facts.accuracy <= found.clean_accuracy, "{facts:?}");
    }
    assert!(found.by_eps[1].success > found.by_eps[0].success);
    let after = classes(&batch.attack(Method::Fgsm, Target::Class(3), 8.0 / 255.0).unwrap());
    for (row, cells) in found.targets.iter().enumerate() {
        let of_row: Vec<usize> = right.iter().copied().filter(|&at| label(at) == row).collect();
        let hits = of_row.iter().filter(|&&at| after[at] == 3).count();
        let wanted = (row != 3 && !of_row.is_empty()).then(|| hits as f64 / of_row.len() as f64);
        assert_eq!((cells.len(), cells[3], cells[row]), (CLASSES, wanted, None), "label {row}");
    }

    let mut chosen: Vec<usize> = Vec::new();
    for class in 0..CLASSES {
        chosen.extend(right.iter().find(|&&at| label(at) == class));
    }
    chosen.truncate(3);
    assert_eq!(found.victims.len(), 6);
    for (victim, (&at, targeted)) in
        found.victims.iter().zip(chosen.iter().map(|at| (at, false)).chain(chosen.iter().map(|at| (at, true))))
    {
        assert_eq!((victim.index, victim.label, victim.predicted_clean), (at, label(at), label(at)));
        assert_eq!(victim.target, targeted.then_some((label(at) + 1) % CLASSES));
        assert_eq!(victim.clean.0, images.bytes[at * SIZE..(at + 1) * SIZE]);
        assert!((0.1..=1.0).contains(&victim.confidence_clean) && (0.1..=1.0).contains(&victim.confidence_adversarial));
        assert_eq!(victim.factor, 15.0);
        for ((&clean, &adversarial), &shade) in
            victim.clean.0.iter().zip(&victim.adversarial.0).zip(&victim.perturbation.0)
        {
            let moved = i32::from(adversarial) - i32::from(clean);
            assert!(moved.abs() <= 8 && i32::from(shade) == 128 + 15 * moved, "{clean} {adversarial} {shade}");
        }
    }

    let lab = Plan { convention: Convention::Lab, pgd: None, table_images: 0, ..plan };
    let few = images.truncated(20);
    let found = attacks(&gpu, &network, &few, CLASSES, (&variant, 1), &lab, |_, _| {}).unwrap();
    assert_eq!((found.convention.as_str(), found.by_eps[1].eps), ("lab", 2.0 / 255.0));
    assert!(found.by_eps[1].pgd_accuracy.is_none() && found.targets.iter().flatten().all(Option::is_none));
    assert!(attacks(&gpu, &network, &Images::default(), CLASSES, (&variant, 1), &lab, |_, _| {}).is_err());
}
