#!/usr/bin/env python3
"""Make the golden file of the blobs: the blur of Hendrycks et al. (2019) by scipy, on our generator's bits.

    blobs_golden.py --out DIR

`golden_blobs.json`: for the first four pictures of seed 0, planar elements (k * 1000003) mod 3072, k = 0 ... 127, and the
share of zeros. skimage's `gaussian(blob, sigma=1.5, multichannel=False)`, which the paper's program calls, is scipy's
filter over all three dimensions with the edge's value beyond it.
"""
import argparse
import json
import os

import numpy as np
from scipy.ndimage import gaussian_filter

from make_golden import IMAGE_BYTES, SPREAD, words

PURPOSE_BLOBS = 13
THRESHOLD = 3_006_477_107  # 0.7 of all words


def picture(index):
    bits = (words(0, PURPOSE_BLOBS, index, IMAGE_BYTES) < np.uint64(THRESHOLD)).astype(np.float64)
    blob = gaussian_filter(bits.reshape(3, 32, 32), sigma=1.5, mode="nearest", truncate=4.0)
    blob[blob < 0.75] = 0
    return np.rint(255 * blob).astype(np.int64).reshape(-1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the golden file")
    path = os.path.join(parser.parse_args().out, "golden_blobs.json")
    at = np.arange(128) * SPREAD % IMAGE_BYTES
    pictures = [picture(index) for index in range(4)]
    found = [{"pixels": one[at].tolist(), "zeros": float((one == 0).mean())} for one in pictures]
    with open(path, "w") as file:
        json.dump(found, file, separators=(",", ":"))
        file.write("\n")
    print(f"{path}: {os.path.getsize(path)} bytes; zeros {[one['zeros'] for one in found]}")


if __name__ == "__main__":
    main()
