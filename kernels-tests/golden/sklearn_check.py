#!/usr/bin/env python3
"""Compute the OOD metrics of a run again with scikit-learn and compare.

    sklearn_check.py --scores scores.csv --result result.json

scores.csv has the header `set,index,label,<score>...`, where `set` is `id` or `ood`; every score is
higher for in-distribution images. A column `<score>_rank` is not a score of its own: where it is
present the images are ranked by it instead of by `<score>` (max_softmax saturates at 1 and would
tie; its logarithm does not). result.json holds `scores.<score>.<metric>`.

Exit status 1 if any AUROC differs by more than --tolerance, or cannot be compared; with --all, if any
metric does.
"""
import argparse
import csv
import json
import sys

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

REQUIRED_TPR = 0.95


def fpr95(positive, score):
    """False positive rate of the first ROC point that keeps at least 95 % of the positives."""
    fpr, tpr, _ = roc_curve(positive, score, drop_intermediate=False)
    # In counts, so that exactly 95 % is met in spite of the division inside roc_curve.
    count = positive.sum()
    return fpr[np.argmax(np.rint(tpr * count) >= REQUIRED_TPR * count - 1e-9)]


def metrics(is_id, score):
    fpr, tpr, _ = roc_curve(is_id, score, drop_intermediate=False)
    return {
        "auroc": roc_auc_score(is_id, score),
        "aupr_in": average_precision_score(is_id, score),
        "aupr_out": average_precision_score(~is_id, -score),
        "fpr95_id": fpr95(is_id, score),
        "fpr95_ood": fpr95(~is_id, -score),
        "detection_error": np.min((1 - tpr + fpr) / 2),
    }


def read_scores(path):
    """Which rows are in-distribution, and the columns that are ranked, by score."""
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    if header[:3] != ["set", "index", "label"]:
        raise SystemExit(f"{path}: the header is {','.join(header)}")
    sets = np.array([row[0] for row in rows])
    if set(sets) != {"id", "ood"}:
        raise SystemExit(f"{path}: the sets are {sorted(set(sets))}, expected id and ood")
    columns = {name: np.array([float(row[i]) for row in rows]) for i, name in enumerate(header) if i >= 3}
    names = [name for name in columns if not (name.endswith("_rank") and name.removesuffix("_rank") in columns)]
    return sets == "id", {name: columns.get(f"{name}_rank", columns[name]) for name in names}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", default="scores.csv", help="default %(default)s")
    parser.add_argument("--result", default="result.json", help="default %(default)s")
    parser.add_argument("--tolerance", type=float, default=1e-9, help="default %(default)s")
    parser.add_argument("--all", action="store_true", help="hold every metric to the tolerance, not only AUROC")
    arguments = parser.parse_args()

    is_id, columns = read_scores(arguments.scores)
    with open(arguments.result) as file:
        result = json.load(file)["scores"]
    if set(result) != set(columns):
        raise SystemExit(f"scores in the result: {sorted(result)}; in the csv: {sorted(columns)}")

    failed, largest = [], (0.0, "none")
    for name, score in columns.items():
        for metric, want in metrics(is_id, score).items():
            got = result[name].get(metric)
            difference = float("inf") if got is None else abs(got - want)
            print(f"{name:<16} {metric:<16} ours {got}  scikit-learn {want:.15g}  difference {difference:.1e}")
            largest = max(largest, (difference, f"{name} {metric}"))
            if (metric == "auroc" or arguments.all) and not difference <= arguments.tolerance:
                failed.append(f"{name} {metric}")
    print(f"{is_id.sum()} id and {(~is_id).sum()} ood images; largest difference {largest[0]:.1e} ({largest[1]})")
    if failed:
        sys.exit(f"differ by more than {arguments.tolerance}: {', '.join(failed)}")


if __name__ == "__main__":
    main()
