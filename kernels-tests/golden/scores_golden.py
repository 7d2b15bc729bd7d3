#!/usr/bin/env python3
"""Make the golden file of the OOD scores that need more than logits: what pytorch-ood makes of made features.

    scores_golden.py --assets DIR --out DIR     (needs pytorch-ood 0.4)

`golden_scores.json` holds, for 600 training features of 5 classes in 24 dimensions, 60 in-distribution and 60
out-of-distribution ones and a linear head, all from the generator of src/random.rs (`made`; nothing but scores has to
travel): for each detector, the scores of the 120, higher meaning more in-distribution (pytorch-ood's are negated), and
their AUROC by scikit-learn. `odin` are log probabilities of the smooth pictures of attack_methods_golden.py under
`assets/lenet.safetensors`, with T = 1000 and eps = 0.0014.

pytorch-ood's Mahalanobis score is half the squared distance under the *sum* of outer products; ours, as in the paper,
the squared distance under their mean: 2 N times it (and a ridge of 1e-6 / N apart). pytorch-ood's ViM finds its subspace in
f32, which moves a score by some 1e-5 of its two parts, more than 1e-4 of their difference; so `vim` is the same in f64 by
numpy, and how far pytorch-ood is from that is printed.
"""
import argparse
import json
import os

import numpy as np
import torch
from pytorch_ood.detector import ASH, KNN, Mahalanobis, ODIN, ReAct, ViM
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from attack_methods_golden import COUNT, picture
from make_golden import MODELS, PURPOSE_TEST, SEED, pixels, words

CLASSES, SIZE, TRAIN, EACH = 5, 24, 600, 60
HEAD_ITEM, MEANS_ITEM, FIRST_ITEM = 5000, 5001, 5100
K = 50


def units(item, count):
    """Numbers in [0, 1) with 24 bits, exact in f32."""
    return (words(SEED, PURPOSE_TEST, item, count) >> np.uint64(8)).astype(np.float32) / np.float32(1 << 24)


def made(index, is_ood):
    """Features of picture `index`: its class's mean (index mod 5) and noise, or noise alone, cut off at 0."""
    noise = units(FIRST_ITEM + index, 2 * SIZE)
    means = units(MEANS_ITEM, CLASSES * SIZE).reshape(CLASSES, SIZE)
    spread = noise[:SIZE] + noise[SIZE:] - np.float32(1)
    shift = np.float32(0.25) if is_ood else 2 * means[index % CLASSES] - np.float32(0.5)
    return np.maximum(shift + spread, np.float32(0))


def vim_in_f64(train, tested, weights, bias, dimension):
    train, tested, weights, bias = (part.double().numpy() for part in (train, tested, weights, bias))
    origin = -np.linalg.pinv(weights) @ bias
    moved = train - origin
    _, vectors = np.linalg.eigh(moved.T @ moved / len(moved))
    residual = vectors[:, : train.shape[1] - dimension]
    alpha = (train @ weights.T + bias).max(1).mean() / np.linalg.norm(moved @ residual, axis=1).mean()
    energy = np.logaddexp.reduce(tested @ weights.T + bias, axis=1)
    return alpha * np.linalg.norm((tested - origin) @ residual, axis=1) - energy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", required=True, help="the repository's folder of weights")
    parser.add_argument("--out", required=True, help="folder for the golden file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    numbers = range(TRAIN + 2 * EACH)
    all_features = torch.from_numpy(np.stack([made(i, i >= TRAIN + EACH) for i in numbers]))
    train, tested = all_features[:TRAIN], all_features[TRAIN:]
    labels = torch.arange(TRAIN) % CLASSES
    head = torch.from_numpy(2 * units(HEAD_ITEM, CLASSES * (SIZE + 1)).reshape(CLASSES, SIZE + 1) - 1)
    weights, bias = head[:, :SIZE].contiguous(), head[:, SIZE].contiguous()

    def logits(z):
        return z.flatten(1) @ weights.T + bias

    def deep(z):
        return z[:, :, None, None]

    theirs = ViM(None, d=SIZE // 2, w=weights, b=bias).fit_features(train, labels)
    react = ReAct(None, logits, percentile=0.9).fit_feature_maps(train, labels)
    mahalanobis = Mahalanobis(None).fit_features(train, labels).predict_features(tested)
    outliers = {
        "knn": KNN(None, k=K).fit_features(train, labels).predict_features(tested),
        "mahalanobis": 2 * TRAIN * mahalanobis.double(),
        "vim": torch.from_numpy(vim_in_f64(train, tested, weights, bias, SIZE // 2)),
        "react": react.predict_feature_maps(tested),
    }
    apart = (theirs.predict_features(tested).double() - outliers["vim"]).abs().max()
    print(f"pytorch-ood's ViM is at most {apart:.1e} from the same in f64")
    for variant in ("s", "b", "p"):
        outliers[f"ash_{variant}"] = ASH(None, logits, variant=f"ash-{variant}").predict_feature_maps(deep(tested))
    is_id = np.arange(2 * EACH) < EACH
    found = {}
    for name, outlier in outliers.items():
        scores = -outlier.double().numpy()
        found[name] = {"auroc": roc_auc_score(is_id, scores), "scores": [float(f"{score:.9g}") for score in scores]}
        print(f"{name}: AUROC {found[name]['auroc']:.4f}, from {scores.min():.4g} to {scores.max():.4g}")

    model = MODELS["lenet"]()
    model.load_state_dict(load_file(os.path.join(arguments.assets, "lenet.safetensors")), strict=True)
    model.eval()
    x = pixels(np.stack([picture(i) for i in range(COUNT)]))
    # The detector takes sign(0) = 0, the paper's program 1: here no gradient is 0.
    odin = -ODIN(model, eps=0.0014, temperature=1000.0).predict(x)
    found["odin"] = {"scores": [float(f"{score:.9g}") for score in odin.double().log().numpy()]}
    path = os.path.join(arguments.out, "golden_scores.json")
    with open(path, "w") as file:
        json.dump(found, file, separators=(",", ":"))
        file.write("\n")
    print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
