#!/usr/bin/env python3
"""Repeat the OOD scores of a run of ours with pytorch-ood, from the pictures on.

    shadegrad ood --weights w.safetensors --data DIR --ood OTHER --score all --count 2000 --out scored
    torch_scores.py --model lenet --weights w.safetensors --data DIR --ood OTHER --scores scored/scores.csv

DIR and OTHER are folders in CIFAR-10's layout; the detectors are fitted on all of DIR's training pictures. Prints, for each
score, the largest relative difference (of a picture, against the larger of its score and a thousandth of the largest) and
both AUROC. The exit status is 1 if an AUROC differs by more than 1e-3 or a score by more than --tolerance.
"""
import argparse
import csv
import os
import sys

import numpy as np
import torch
from pytorch_ood.detector import ASH, KNN, Mahalanobis, ODIN, ReAct
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from make_golden import MODELS, RECORD_BYTES, pixels
from scores_golden import vim_in_f64


def records(folder, *names):
    parts = [np.fromfile(os.path.join(folder, name), dtype=np.uint8) for name in names]
    return np.concatenate(parts).reshape(-1, RECORD_BYTES)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet", choices=["lenet", "lab"])
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--data", required=True, metavar="DIR")
    parser.add_argument("--ood", required=True, metavar="DIR")
    parser.add_argument("--scores", required=True, metavar="FILE", help="scores.csv of the run")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="default %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with open(arguments.scores, newline="") as file:
        rows = list(csv.DictReader(file))
    is_id = np.array([row["set"] == "id" for row in rows])
    model = MODELS[arguments.model]()
    model.load_state_dict(load_file(arguments.weights), strict=True)
    model.eval()
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    seen = []
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))

    def features(x):
        with torch.no_grad():
            for part in x.split(500):
                model(part)
        found = torch.cat(seen)
        seen.clear()
        return found

    train = records(arguments.data, *(f"data_batch_{number}.bin" for number in range(1, 6)))
    labels = torch.from_numpy(train[:, 0].astype(np.int64))
    fitted = torch.cat([features(pixels(part[:, 1:])) for part in np.array_split(train, 50)])
    tested_pixels = torch.cat([
        pixels(records(arguments.data, "test_batch.bin")[: is_id.sum(), 1:]),
        pixels(records(arguments.ood, "test_batch.bin")[: (~is_id).sum(), 1:]),
    ])
    tested = features(tested_pixels)
    w, b = last.weight.detach(), last.bias.detach()

    def logits(z):
        return z.flatten(1) @ w.T + b

    size = fitted.shape[1]
    outliers = {
        "knn": lambda: KNN(None, k=50).fit_features(fitted, labels).predict_features(tested),
        "mahalanobis": lambda: 2 * len(fitted) * Mahalanobis(None).fit_features(fitted, labels).predict_features(tested),
        # In f64: pytorch-ood's own finds its subspace in f32, which moves scores near 0 by some thousandths of themselves.
        "vim": lambda: torch.from_numpy(vim_in_f64(fitted, tested, w, b, size // 2)),
        "react": lambda: ReAct(None, logits).fit_feature_maps(fitted, labels).predict_feature_maps(tested),
        "odin": lambda: -torch.cat([-ODIN(model).predict(part) for part in tested_pixels.split(500)]).double().log(),
    }
    for variant in "sbp":
        outliers[f"ash_{variant}"] = lambda v=variant: ASH(None, logits, f"ash-{v}").predict_feature_maps(tested[:, :, None, None])
    failed = []
    for name, make in outliers.items():
        if name not in rows[0]:
            continue
        theirs = -make().detach().double().numpy()
        ours = np.array([float(row[name]) for row in rows])
        scale = np.maximum(np.abs(theirs), 1e-3 * np.abs(theirs).max())
        apart = np.max(np.abs(ours - theirs) / scale)
        aurocs = roc_auc_score(is_id, ours), roc_auc_score(is_id, theirs)
        print(f"{name:<12} at most {apart:.1e} apart; AUROC ours {aurocs[0]:.6f}, pytorch-ood's {aurocs[1]:.6f}")
        if apart > arguments.tolerance or abs(aurocs[0] - aurocs[1]) > 1e-3:
            failed.append(name)
    if failed:
        sys.exit(f"differ: {', '.join(failed)}")


if __name__ == "__main__":
    main()
