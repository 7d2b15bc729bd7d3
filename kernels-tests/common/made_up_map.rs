//! A made-up map: nothing was trained, but its numbers hang together.

use std::collections::BTreeMap;

use shadegrad::gpu::AdapterSummary;
use shadegrad::lab::map::{
    Attacked, Cell, CellResult, Detected, Map, Measured, Merged, Outside, Pictures, Plan, Trained,
};
use shadegrad::ood::metrics::Metrics;

/// Three seeds of three defences.
pub fn plan() -> Plan {
    Plan {
        models: vec!["lenet".to_owned()],
        defences: ["none", "fgsm", "pgd"].map(str::to_owned).to_vec(),
        eps: vec![2.0 / 255.0, 8.0 / 255.0],
        epochs: vec![1, 3],
        seeds: 3,
        scores: vec!["max_logit".to_owned(), "energy".to_owned()],
        batch: 128,
        lr: 1e-3,
        attack_eps: vec![2.0 / 255.0, 8.0 / 255.0],
        attack_images: 1000,
    }
}

/// A map whose numbers are made up: AUROC by `auroc`, accuracies that fall, and an alarm of FGSM at 8/255 in epoch 2.
pub fn made_up(plan: &Plan, auroc: impl Fn(&Cell, u32) -> f64) -> Merged {
    let outside = |name: &str| Outside { name: name.to_owned(), images: 100, fingerprint: String::new() };
    let pictures = Pictures {
        data: "a & b <\"data\">".to_owned(),
        train_images: 50_000,
        test_images: 10_000,
        fingerprint: String::new(),
        ood: vec![outside("fake"), outside("x<y>,\"z\"")],
    };
    let adapter = AdapterSummary {
        name: "adapter".to_owned(),
        backend: "vulkan".to_owned(),
        driver: "driver 1".to_owned(),
        device_type: "software".to_owned(),
    };
    let metrics = |auroc: f64| Metrics {
        auroc,
        aupr_in: 0.5,
        aupr_out: 0.5,
        fpr95_id: 1.0 - auroc,
        fpr95_ood: 0.5,
        detection_error: 0.5,
        prevalence: 0.5,
    };
    let cells = plan.cells().into_iter().map(|cell| {
        let falls = cell.defence == "fgsm" && cell.eps.is_some_and(|eps| eps > 0.02);
        let robust = |epoch: u32| if falls && epoch > 1 { 0.01 } else { 0.3 + 0.01 * cell.seed as f64 };
        let trained = |epoch: u32| Trained {
            epoch,
            steps: u64::from(epoch) * 391,
            train_loss: 1.0,
            test_accuracy: 0.5,
            test_loss: 1.2,
            fgsm_accuracy: cell.eps.map(|_| 0.4),
            pgd_accuracy: cell.eps.map(|_| robust(epoch)),
            pgd_train_accuracy: cell.eps.map(|_| robust(epoch)),
            fgsm_train_accuracy: cell.eps.map(|_| robust(epoch) + 0.01),
            alarm: falls && epoch == 2 && cell.seed != 1,
        };
        let measured = |&epoch: &u32| Measured {
            epoch,
            clean_accuracy: 0.5 + 0.02 * cell.seed as f64,
            attack_clean_accuracy: 0.5,
            attacked: plan
                .attack_eps
                .iter()
                .map(|&eps| Attacked { eps, fgsm_accuracy: 0.4, pgd_accuracy: robust(epoch) })
                .collect(),
            detection: pictures
                .ood
                .iter()
                .flat_map(|ood| plan.scores.iter().map(|score| (ood.name.clone(), score.clone())))
                .map(|(ood, score)| Detected { ood, score, metrics: metrics(auroc(&cell, epoch)) })
                .collect(),
        };
        CellResult {
            version: "0".to_owned(),
            adapter: adapter.clone(),
            kernel_choices: BTreeMap::new(),
            diverged: None,
            training: (1..=3).map(trained).collect(),
            measured: plan.epochs.iter().map(measured).collect(),
            images_per_second: 1.0,
            seconds: 2.0,
            cell,
        }
    });
    let cells = cells.collect();
    Merged::new(Map::new(plan.clone(), pictures), cells)
}
