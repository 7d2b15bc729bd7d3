//! The attacks beside FGSM: torchattacks' pictures, what must hold of each, flat memory, and what they do to a trained
//! model.

mod common;
#[path = "common/smooth.rs"]
mod smooth;
#[path = "common/trained.rs"]
mod trained;

use std::path::Path;

use common::cases::bits;
use common::gpu;
use safetensors::SafeTensors;
use shadegrad::attack::{
    AttackError, Attacker, Batch, Bim, CarliniWagner, Convention, DeepFool, Method, MiFgsm, Norm, Pgd, RFgsm, Target,
    logits,
};
use shadegrad::data::{SIZE, few_shapes};
use shadegrad::gpu::{Gpu, GpuOptions, Tensor};
use shadegrad::lab::evaluate::predictions;
use shadegrad::models;
use shadegrad::nn::Network;
use smooth::smooth;
use trained::trained;

const CLASSES: usize = 10;
const EPS: f64 = 8.0 / 255.0;

fn upload(gpu: &Gpu, bytes: &[u8]) -> Tensor {
    let pixels: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    gpu.tensor([bytes.len() / SIZE, 3, 32, 32], &pixels).unwrap()
}

fn lenet(gpu: &Gpu) -> Network {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/lenet.safetensors");
    models::from_file(gpu, &path, None).unwrap()
}

fn classes(gpu: &Gpu, network: &Network, x: &Tensor) -> Vec<usize> {
    predictions(&logits(gpu, network, x).unwrap(), CLASSES)
}

fn pgd_l2(steps: u32) -> Pgd {
    Pgd { norm: Norm::L2, ..Pgd::new(steps) }
}

/// Every attack, with few steps.
fn all() -> [Method; 8] {
    [
        Method::Fgsm,
        Method::RFgsm(RFgsm::default()),
        Method::Bim(Bim { steps: 3, step_size: None }),
        Method::Pgd(Pgd { restarts: 2, ..Pgd::new(3) }),
        Method::Pgd(Pgd { restarts: 2, ..pgd_l2(3) }),
        Method::MiFgsm(MiFgsm { steps: 3, ..MiFgsm::default() }),
        Method::DeepFool(DeepFool { steps: 3, ..DeepFool::default() }),
        Method::CarliniWagner(CarliniWagner { steps: 12, c: 10.0, searches: 2, ..CarliniWagner::default() }),
    ]
}

#[test]
fn pictures_are_torchattacks_but_for_rounding_and_gradient_ties() {
    let gpu = gpu();
    let golden = SafeTensors::deserialize(include_bytes!("golden/golden_attack_methods.safetensors")).unwrap();
    let network = lenet(&gpu);
    let bytes: Vec<u8> = (0..12).flat_map(smooth).collect();
    let x = upload(&gpu, &bytes);
    let labels = golden.tensor("label").unwrap().data().to_vec();
    assert_eq!(classes(&gpu, &network, &x), labels.iter().map(|&label| usize::from(label)).collect::<Vec<_>>());
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 3).unwrap();
    let batch = attacker.batch(&x, &labels, 0).unwrap();
    let bim = Method::Bim(Bim::default());
    let mi_fgsm = Method::MiFgsm(MiFgsm::default());
    let cw = Method::CarliniWagner(CarliniWagner::default());
    let l2 = Method::Pgd(Pgd { random_start: false, ..pgd_l2(10) });
    let any = f64::INFINITY;
    // Where an attack goes by signs, a pixel is the same but for rounding, or else its gradient was nearly 0, and it is
    // off by a step; such pixels may be this many. The others differ everywhere by what rounding does to gradients.
    let cases = [
        ("bim", bim, Target::Untargeted, EPS, 1e-6, 0.01),
        ("bim_next", bim, Target::Next, EPS, 1e-6, 0.01),
        ("mi_fgsm", mi_fgsm, Target::Untargeted, EPS, 1e-6, 0.01),
        ("mi_fgsm_next", mi_fgsm, Target::Next, EPS, 1e-6, 0.01),
        ("pgd", Method::Pgd(Pgd::new(10)), Target::Untargeted, EPS, 1e-6, 0.01),
        ("r_fgsm", Method::RFgsm(RFgsm::default()), Target::Untargeted, EPS, 1e-6, 0.001),
        ("pgd_l2", l2, Target::Untargeted, 1.0, 1e-4, 0.01),
        ("deepfool", Method::DeepFool(DeepFool::default()), Target::Untargeted, any, 1e-4, 0.01),
        // Adam makes a step of a whole learning rate of a gradient that is nothing but rounding, where no path leads from
        // a pixel to the margin: PyTorch in f32 and in f64 part in 6 % of cw_next's pixels, by up to 0.016.
        ("cw", cw, Target::Untargeted, any, 1e-3, 0.1),
        ("cw_next", cw, Target::Next, any, 1e-3, 0.1),
    ];
    for (name, method, target, eps, tolerance, share) in cases {
        let floats = |what: &str| -> Vec<f32> {
            bytemuck::pod_collect_to_vec(golden.tensor(&format!("{name}.{what}")).unwrap().data())
        };
        let moved = batch.attack(method, target, eps).unwrap();
        let found = gpu.read(&moved).unwrap();
        let (mut different, mut largest) = (0usize, 0.0f32);
        for (at, wanted) in floats("pixels").into_iter().enumerate() {
            let (image, sample) = (at / 96, at % 96);
            let difference = (found[image * SIZE + sample * 1_000_003 % SIZE] - wanted).abs();
            different += usize::from(difference > tolerance);
            largest = largest.max(difference);
        }
        let part = different as f64 / (12.0 * 96.0);
        println!(
            "{name}: {different} of {} sampled pixels differ by more than {tolerance:.0e} ({part:.1e}), at most by {largest:.1e}",
            12 * 96
        );
        assert!(part <= share, "{name}: {different} pixels differ");
        // What C&W keeps may be of another step where two are about as near.
        let apart = if name.starts_with("cw") { 0.1 } else { 0.01 };
        for (far, wanted) in batch.distances(&moved).unwrap().into_iter().zip(floats("l2")) {
            assert!((far - f64::from(wanted)).abs() <= apart * f64::from(wanted), "{name}: L2 {far}, not {wanted}");
        }
        let predicted: Vec<u8> = classes(&gpu, &network, &moved).into_iter().map(|class| class as u8).collect();
        assert_eq!(predicted, golden.tensor(&format!("{name}.predicted")).unwrap().data(), "{name}");
    }
}

/// Some of the shapes, and a lenet that knows them by heart.
fn bench(gpu: &Gpu, count: u32) -> (Network, Tensor, Vec<u8>) {
    let images = few_shapes(64, 0).train;
    let network = trained(gpu, &images);
    let few = images.truncated(count as usize);
    (network, upload(gpu, &few.bytes), few.labels)
}

fn right(gpu: &Gpu, network: &Network, batch: &Batch<'_>, labels: &[u8], method: Method, eps: f64) -> usize {
    let after = classes(gpu, network, &batch.attack(method, Target::Untargeted, eps).unwrap());
    after.iter().zip(labels).filter(|(after, label)| **after == usize::from(**label)).count()
}

#[test]
fn more_steps_leave_fewer_right_and_no_epsilon_leaves_all() {
    let gpu = gpu();
    let (network, x, labels) = bench(&gpu, 64);
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 1).unwrap();
    let batch = attacker.batch(&x, &labels, 0).unwrap();
    let accuracy = |method, eps| right(&gpu, &network, &batch, &labels, method, eps);
    let clean = classes(&gpu, &network, &x).iter().zip(&labels).filter(|(a, b)| **a == usize::from(**b)).count();
    assert!(clean > 50, "{clean}");
    for k in [1.0, 2.0, 4.0, 8.0] {
        let [fgsm, ten, twenty, restarted] = [
            Method::Fgsm,
            Method::Pgd(Pgd::new(10)),
            Method::Pgd(Pgd::new(20)),
            Method::Pgd(Pgd { restarts: 3, ..Pgd::new(10) }),
        ]
        .map(|method| accuracy(method, k / 255.0));
        println!("{k}/255: clean {clean}, FGSM {fgsm}, PGD-10 {ten} (3 restarts {restarted}), PGD-20 {twenty} of 64");
        assert!(twenty <= ten && ten <= fgsm && fgsm <= clean && restarted <= ten, "{k}/255");
    }
    for method in all() {
        assert_eq!(accuracy(method, 0.0), clean, "{method:?}");
    }
    // Targets that a picture is less like are harder to reach.
    let reached = |rank: usize| -> usize {
        let mut hits = 0;
        for number in 0..24usize {
            let row = &batch.logits()[number * CLASSES..(number + 1) * CLASSES];
            let mut order: Vec<usize> = (0..CLASSES).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            let one =
                attacker.batch(&x.slice(number * SIZE, [1, 3, 32, 32]).unwrap(), &labels[number..=number], number);
            let moved = one.unwrap().attack(Method::Fgsm, Target::Class(order[rank]), EPS).unwrap();
            hits += usize::from(classes(&gpu, &network, &moved)[0] == order[rank]);
        }
        hits
    };
    let [near, middle, far] = [1, 4, 9].map(reached);
    println!("targeted FGSM at 8/255 reaches the class of rank 1, 4, 9 for {near}, {middle}, {far} of 24");
    assert!(near >= middle && middle >= far && near > far);
}

#[test]
fn the_nearest_pictures_are_near_and_another_class() {
    let gpu = gpu();
    let (network, x, labels) = bench(&gpu, 16);
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 1).unwrap();
    let batch = attacker.batch(&x, &labels, 0).unwrap();
    let far = |method: Method, target| {
        let moved = batch.attack(method, target, f64::INFINITY).unwrap();
        (classes(&gpu, &network, &moved), batch.distances(&moved).unwrap(), moved)
    };
    let (fooled, by_deepfool, _) = far(Method::DeepFool(DeepFool::default()), Target::Untargeted);
    let moved = fooled.iter().zip(&labels).filter(|(class, label)| **class != usize::from(**label)).count();
    println!("DeepFool: {moved} of 16 are no longer their label");
    // Its steps may go back and forth between two borders, in torchattacks as here, and end on the wrong side.
    assert!(moved >= 12, "{fooled:?} {labels:?}");
    let settings = CarliniWagner { c: 5.0, steps: 100, rate: 0.05, searches: 3, ..CarliniWagner::default() };
    let (fooled, by_cw, moved) = far(Method::CarliniWagner(settings), Target::Untargeted);
    assert!(fooled.iter().zip(&labels).all(|(class, label)| *class != usize::from(*label)), "{fooled:?}");
    let sum = |distances: &[f64]| distances.iter().sum::<f64>();
    println!("L2 in the mean: DeepFool {:.3}, C&W {:.3}", sum(&by_deepfool) / 16.0, sum(&by_cw) / 16.0);
    assert!(sum(&by_cw) < 1.1 * sum(&by_deepfool) && sum(&by_deepfool) < 16.0 * 3.0);
    // Each search finds something that is no further than what the first found.
    let (_, once, _) = far(Method::CarliniWagner(CarliniWagner { searches: 1, ..settings }), Target::Untargeted);
    assert!(once.iter().zip(&by_cw).all(|(once, thrice)| thrice <= &(once + 1e-6) || *once < 1e-3));
    // With a confidence, the wrong class leads by it; a target is met.
    let sure = CarliniWagner { confidence: 2.0, c: 20.0, ..settings };
    let (hit, _, moved_sure) = far(Method::CarliniWagner(sure), Target::Class(3));
    for (row, class) in logits(&gpu, &network, &moved_sure).unwrap().chunks_exact(CLASSES).zip(&hit) {
        let other = (0..CLASSES).filter(|class| *class != 3).map(|class| row[class]).fold(f32::MIN, f32::max);
        assert!(*class != 3 || row[3] - other >= 1.999, "{row:?}");
    }
    assert!(hit.iter().filter(|class| **class == 3).count() >= 8, "{hit:?}");
    // Within an epsilon, a picture is what was found or clean.
    let middle = by_cw.iter().copied().fold(0.0, f64::max) / 2.0;
    let (clean, moved) = (gpu.read(&x).unwrap(), gpu.read(&moved).unwrap());
    let within = gpu.read(&batch.attack(Method::CarliniWagner(settings), Target::Untargeted, middle).unwrap()).unwrap();
    for (number, far) in by_cw.iter().enumerate() {
        let part = number * SIZE..(number + 1) * SIZE;
        let wanted = if *far <= middle { &moved[part.clone()] } else { &clean[part.clone()] };
        assert_eq!(bits(&within[part]), bits(wanted), "{number} at {far}");
    }
}

#[test]
fn each_keeps_to_its_ball_depends_on_no_batch_and_is_the_same_each_time() {
    let gpu = gpu();
    let (network, x, labels) = bench(&gpu, 6);
    let before = network.state(&gpu).unwrap();
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 5).unwrap();
    let clean = gpu.read(&x).unwrap();
    let alone = attacker.batch(&x.slice(3 * SIZE, [1, 3, 32, 32]).unwrap(), &labels[3..4], 3).unwrap();
    let batch = attacker.batch(&x, &labels, 0).unwrap();
    for method in all() {
        for target in [Target::Untargeted, Target::Next] {
            let eps = if method.norm() == Norm::L2 { 0.5 } else { EPS };
            if matches!(method, Method::DeepFool(_)) && target == Target::Next {
                let error = batch.attack(method, target, eps).err().unwrap();
                assert!(matches!(error, AttackError::NoTarget { method: "deepfool" }), "{error}");
                continue;
            }
            let moved = batch.attack(method, target, eps).unwrap();
            let pixels = gpu.read(&moved).unwrap();
            assert!(pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)), "{method:?}");
            match method.norm() {
                Norm::L2 => {
                    assert!(batch.distances(&moved).unwrap().iter().all(|far| *far <= eps + 2e-5), "{method:?}")
                }
                Norm::LInf => assert!(clean.iter().zip(&pixels).all(|(a, b)| f64::from((a - b).abs()) <= eps + 1e-7)),
            }
            assert!(method.is_minimal() || bits(&pixels) != bits(&clean), "{method:?} moves nothing");
            assert_eq!(
                bits(&pixels),
                bits(&gpu.read(&batch.attack(method, target, eps).unwrap()).unwrap()),
                "{method:?}"
            );
            let one = gpu.read(&alone.attack(method, target, eps).unwrap()).unwrap();
            let unlike = one.iter().zip(&pixels[3 * SIZE..]).filter(|(a, b)| (*a - *b).abs() > 1e-3).count();
            assert!(unlike * 100 < SIZE, "{method:?}: {unlike} pixels depend on the batch");
        }
    }
    drop((batch, alone));
    attacker.finish().unwrap();
    for ((name, _, before), (.., after)) in before.iter().zip(network.state(&gpu).unwrap()) {
        assert_eq!(bits(before), bits(&after), "{name}");
    }
}

#[test]
fn the_worst_case_is_the_first_that_succeeds() {
    let gpu = gpu();
    let (network, x, labels) = bench(&gpu, 32);
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 5).unwrap();
    let batch = attacker.batch(&x, &labels, 0).unwrap();
    let found: Vec<(Tensor, Vec<f32>)> = [Method::Fgsm, Method::Pgd(Pgd::new(2))]
        .into_iter()
        .map(|method| {
            let moved = batch.attack(method, Target::Untargeted, 1.0 / 255.0).unwrap();
            let logits = batch.logits_of(&moved).unwrap();
            (moved, logits)
        })
        .collect();
    let pairs: Vec<(&Tensor, &[f32])> = found.iter().map(|(moved, logits)| (moved, logits.as_slice())).collect();
    let worst = gpu.read(&batch.worst(Target::Untargeted, &pairs).unwrap()).unwrap();
    let pixels = [gpu.read(&found[0].0).unwrap(), gpu.read(&found[1].0).unwrap()];
    let wrong =
        |method: usize, number: usize| predictions(&found[method].1, CLASSES)[number] != usize::from(labels[number]);
    for number in 0..labels.len() {
        let chosen = usize::from(!wrong(0, number) && wrong(1, number));
        let part = number * SIZE..(number + 1) * SIZE;
        assert_eq!(bits(&worst[part.clone()]), bits(&pixels[chosen][part]), "{number}");
    }
}

/// An attack of so many steps.
type ByStep = fn(u32) -> Method;

#[test]
fn memory_does_not_grow_with_the_steps() {
    let images = few_shapes(8, 0).train;
    let peak = |method: ByStep, steps: u32| {
        // A device of its own, whose pool holds nothing of other runs.
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let network = lenet(&gpu);
        let x = upload(&gpu, &images.bytes);
        let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 0).unwrap();
        // Labels that the pictures have, so that DeepFool has something to do.
        let labels: Vec<u8> = classes(&gpu, &network, &x).into_iter().map(|class| class as u8).collect();
        let batch = attacker.batch(&x, &labels, 0).unwrap();
        batch.attack(method(steps), Target::Untargeted, 0.01).unwrap();
        gpu.memory().peak
    };
    let methods: [(&str, ByStep); 5] = [
        ("pgd", |steps| Method::Pgd(Pgd { restarts: 2, ..Pgd::new(steps) })),
        ("pgd l2", |steps| Method::Pgd(pgd_l2(steps))),
        ("mi-fgsm", |steps| Method::MiFgsm(MiFgsm { steps, ..MiFgsm::default() })),
        ("deepfool", |steps| Method::DeepFool(DeepFool { steps, overshoot: 0.0 })),
        ("cw", |steps| Method::CarliniWagner(CarliniWagner { steps, ..CarliniWagner::default() })),
    ];
    for (name, method) in methods {
        let [ten, many] = [10, 200].map(|steps| peak(method, steps));
        println!("{name}: {ten} bytes at the most for 10 steps, {many} for 200");
        assert_eq!(ten, many, "{name}");
    }
}

#[test]
fn settings_that_make_no_sense_are_said() {
    let gpu = gpu();
    let network = lenet(&gpu);
    let (x, labels) = (upload(&gpu, &smooth(0)), [0]);
    let attacker = Attacker::new(&gpu, &network, Convention::Pixels, 0).unwrap();
    let batch = attacker.batch(&x, &labels, 0).unwrap();
    let says = |method, eps, what: &str| {
        let error = batch.attack(method, Target::Untargeted, eps).err().unwrap().to_string();
        assert!(error.contains(what) && error.contains("at least 0"), "{error}");
    };
    says(Method::Pgd(pgd_l2(2)), -1.0, "eps");
    says(Method::Pgd(pgd_l2(2)), f64::NAN, "eps");
    says(Method::Pgd(pgd_l2(2)), f64::INFINITY, "eps");
    says(Method::Pgd(Pgd { step_size: Some(-0.5), ..pgd_l2(2) }), 1.0, "step size");
    says(Method::MiFgsm(MiFgsm { decay: f64::NAN, ..MiFgsm::default() }), 0.1, "decay");
    says(Method::RFgsm(RFgsm { step_size: Some(2.0) }), 0.1, "step size");
    says(Method::DeepFool(DeepFool { overshoot: -1.0, ..DeepFool::default() }), 1.0, "overshoot");
    says(Method::CarliniWagner(CarliniWagner { c: f64::INFINITY, ..CarliniWagner::default() }), 1.0, "c must");
    says(Method::CarliniWagner(CarliniWagner { confidence: -1.0, ..CarliniWagner::default() }), 1.0, "confidence");
}
