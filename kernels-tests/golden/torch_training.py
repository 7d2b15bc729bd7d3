#!/usr/bin/env python3
"""Repeat a training run of shadegrad in PyTorch: the same initial weights, the same batches in the same order.

    torch_training.py --data CIFAR_DIR --model lenet --seed 0 --epochs 15

Rounding differs, and training multiplies it: the first epoch's mean loss agrees to three digits, later ones drift. What
is left at the end is what rounding alone can do to a run.
"""
import argparse
import os

import numpy as np
import torch

from make_golden import MODELS, RECORD_BYTES, initial_weights, is_autoencoder, loss_of, pixels, words

PURPOSE_SHUFFLE = 2


def permutation(seed, epoch, count):
    """The order of an epoch, as `Stream::permutation` in src/random.rs draws it."""
    order = list(range(count))
    drawn = words(seed, PURPOSE_SHUFFLE, epoch, count - 1).astype(np.uint64)
    for last, word in zip(range(count - 1, 0, -1), drawn):
        other = int(word) * (last + 1) >> 32
        order[last], order[other] = order[other], order[last]
    return torch.tensor(order)


def read(folder, *names):
    records = np.concatenate([np.fromfile(os.path.join(folder, name), dtype=np.uint8) for name in names])
    records = records.reshape(-1, RECORD_BYTES)
    return pixels(records[:, 1:]), torch.from_numpy(records[:, 0].astype(np.int64))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DIR", help="folder in the CIFAR-10 binary layout")
    parser.add_argument("--model", default="lenet", choices=MODELS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x, labels = read(options.data, *(f"data_batch_{number}.bin" for number in range(1, 6)))
    test_x, test_labels = read(options.data, "test_batch.bin")
    model = MODELS[options.model]()
    model.load_state_dict(initial_weights(model, options.seed))
    adam = torch.optim.Adam(model.parameters(), lr=options.lr)
    for epoch in range(1, options.epochs + 1):
        total = 0.0
        for rows in permutation(options.seed, epoch, len(x)).split(options.batch):
            adam.zero_grad()
            loss = loss_of(options.model, model(x[rows]), x[rows], labels[rows])
            loss.backward()
            adam.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            outputs = torch.cat([model(part) for part in test_x.split(500)])
        if is_autoencoder(options.model):
            quality = f"test MSE {torch.mean((outputs - test_x) ** 2).item():.5f}"
        else:
            quality = f"test accuracy {100 * (outputs.argmax(1) == test_labels).double().mean().item():.2f} %"
        print(f"epoch {epoch}: train loss {total / len(x):.5f}, {quality}", flush=True)


if __name__ == "__main__":
    main()
