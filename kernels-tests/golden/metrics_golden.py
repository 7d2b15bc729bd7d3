"""Writes the golden values for metrics_test.rs: OOD metrics as scikit-learn computes them.

    python scripts/metrics_golden.py tests/golden/metrics.json

Needs numpy and scikit-learn. Everything is seeded; the same versions give the same file.
Scores are small integers or short decimals, so that the file is small.
"""

import json
import sys

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def metrics(id_scores, ood_scores):
    scores = np.concatenate([id_scores, ood_scores]).astype(np.float64)
    is_id = np.concatenate([np.ones(len(id_scores)), np.zeros(len(ood_scores))])
    fpr, tpr, _ = roc_curve(is_id, scores, drop_intermediate=False)
    fpr_ood, tpr_ood, _ = roc_curve(1 - is_id, -scores, drop_intermediate=False)
    return {
        "auroc": roc_auc_score(is_id, scores),
        "aupr_in": average_precision_score(is_id, scores),
        "aupr_out": average_precision_score(1 - is_id, -scores),
        "fpr95_id": fpr[np.argmax(tpr >= 0.95)],
        "fpr95_ood": fpr_ood[np.argmax(tpr_ood >= 0.95)],
        "detection_error": np.min(0.5 * (1 - tpr + fpr)),
        "prevalence": is_id.mean(),
        "roc_points": len(fpr),
        # Two fingerprints of the whole curve that are not symmetric in its points.
        "roc_sum": float(np.sum(fpr * np.arange(len(fpr)))),
        "roc_dot": float(np.sum(fpr * tpr)),
    }


def cases():
    rng = np.random.default_rng(20240613)

    def ints(n, low, high):
        return rng.integers(low, high, n)

    def normal(n, mean, std, digits):
        # Short decimals rank and tie in f32 as they do in f64, so a test may use either.
        return np.round(rng.normal(mean, std, n), digits)

    yield "one_one_right", [1], [0]
    yield "one_one_wrong", [0], [1]
    yield "one_one_tie", [2], [2]
    yield "one_many", [3], [1, 2, 3, 4, 5]
    yield "many_one", [1, 2, 3, 4, 5], [3]
    yield "two_two_mixed", [1, 3], [2, 4]
    yield "all_equal_small", [5] * 3, [5] * 4
    yield "all_equal_large", [0] * 100, [0] * 40
    yield "separated", list(range(50, 80)), list(range(30))
    yield "separated_touching", list(range(20, 40)), list(range(21))
    yield "reversed", list(range(30)), list(range(50, 80))
    yield "reversed_touching", list(range(21)), list(range(20, 40))
    yield "binary_scores", ints(60, 0, 2), ints(50, 0, 2)
    yield "binary_good", [1] * 90 + [0] * 10, [1] * 5 + [0] * 45
    yield "three_levels", ints(80, 0, 3), ints(90, -1, 2)
    # TPR of exactly 0.95 at some threshold: 19 of 20, 38 of 40, 57 of 60, 95 of 100, ...
    for n in (20, 40, 60, 100, 140, 180, 220, 300):
        kept = n * 19 // 20
        ood = np.concatenate([np.full(7, n), ints(13, 0, n)])
        yield f"exact_95_of_{n}", [n - i for i in range(n)], ood
        yield f"exact_95_tied_of_{n}", [2] * kept + [0] * (n - kept), [3, 2, 2, 1, 1, 0, -1]
    # One short of 95 %, so the next threshold counts.
    yield "just_below_95", [2] * 94 + [1] * 6, [2, 1, 1, 0]
    yield "just_below_95_of_21", [2] * 19 + [1] * 2, [2, 1, 0, 0]
    yield "exact_95_ood", [2, 1, 0, 0, -1], [0] * 19 + [2]
    yield "negative_scores", -ints(50, 0, 500), -ints(70, 200, 900)
    yield "no_ties", rng.permutation(300)[:150], 300 + rng.permutation(150) - 180
    yield "interleaved", list(range(0, 120, 2)), list(range(1, 121, 2))
    yield "spike_in_wide", normal(200, 0, 2, 2), normal(80, 0.5, 0.05, 2)
    yield "wide_in_spike", normal(60, 0.5, 0.05, 2), normal(200, 0, 2, 2)
    yield "overlap", normal(150, 1, 1, 2), normal(150, 0, 1, 2)
    yield "overlap_uneven", normal(300, 1, 1, 1), normal(30, 0, 1, 1)
    yield "overlap_uneven_other", normal(30, 1, 1, 1), normal(300, 0, 1, 1)
    yield "slightly_worse_than_chance", normal(120, -0.1, 1, 1), normal(130, 0, 1, 1)
    yield "saturated_probabilities", np.minimum(normal(150, 0.97, 0.05, 2), 1), np.minimum(
        normal(150, 0.85, 0.2, 2), 1
    )
    yield "heavy_tail", np.round(rng.standard_cauchy(100), 1), np.round(
        rng.standard_cauchy(100) - 2, 1
    )


def plain(value):
    """An integer where the number is one: shorter in the file."""
    value = float(value)
    return int(value) if value == int(value) else value


def main():
    golden = []
    for name, id_scores, ood_scores in cases():
        golden.append(
            {
                "name": name,
                "id": [plain(v) for v in id_scores],
                "ood": [plain(v) for v in ood_scores],
                **{k: plain(v) for k, v in metrics(id_scores, ood_scores).items()},
            }
        )
    with open(sys.argv[1], "w", encoding="ascii") as out:
        rows = (json.dumps(case, separators=(",", ":")) for case in golden)
        out.write("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
