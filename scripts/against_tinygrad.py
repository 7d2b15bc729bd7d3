#!/usr/bin/env python3
"""Training speed beside tinygrad's, whose WEBGPU device runs WGSL by Dawn: another engine on the same adapter.

    DEV=WEBGPU WEBGPU_BACKEND=WGPUBackendType_Vulkan WEBGPU_PATH=.../libwebgpu_dawn.so \\
    scripts/against_tinygrad.py --model lenet --batch 256 --steps 200 --peer-steps 20

Needs Python with tinygrad and numpy, and Dawn's library (the package dawn-python has one). The two take turns, and the
first round of each warms up: tinygrad writes and captures its kernels there (TinyJit), which takes it up to two minutes.
To tinygrad's advantage it trains on one batch that stays where it is, while we gather another for every step. It searches
no kernels (BEAM), and we run no tuner (a table that `bench --tune` kept is followed, and said). Where there are several adapters,
let both see one: VK_DRIVER_FILES names a driver's file to the Vulkan loader.
"""
import time

import numpy
from tinygrad import Context, Device, Tensor, TinyJit, nn
from tinygrad.nn.state import get_parameters

import turns


def pooled(x):
    return x.relu().max_pool2d((2, 2))


class Classifier:
    """Convolutions, each with what follows it, then linear layers with ReLU between them."""

    def __init__(self, convolutions, after, widths):
        self.convolutions, self.after = convolutions, after
        self.linear = [nn.Linear(i, o) for i, o in zip(widths, widths[1:])]

    def __call__(self, x):
        for layer in self.convolutions:
            x = self.after(layer(x))
        x = x.flatten(1)
        for layer in self.linear[:-1]:
            x = layer(x).relu()
        return self.linear[-1](x)


def lenet():
    return Classifier([nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)], pooled, [400, 120, 84, 10])


def lab():
    shapes = ((3, 32, 1), (32, 64, 1), (64, 128, 1), (128, 128, 2), (128, 256, 2))
    return Classifier([nn.Conv2d(i, o, 3, stride=s, padding=1) for i, o, s in shapes], Tensor.relu, [16384, 256, 128, 10])


class Ae3:
    def __init__(self):
        widths = (3, 12, 24, 48)
        self.encoder = [nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in zip(widths, widths[1:])]
        back = widths[::-1]
        self.decoder = [nn.ConvTranspose2d(i, o, 4, stride=2, padding=1) for i, o in zip(back, back[1:])]

    def __call__(self, x):
        for layer in self.encoder + self.decoder[:-1]:
            x = layer(x).relu()
        return self.decoder[-1](x).sigmoid()


MODELS = {"lenet": lenet, "lab": lab, "ae3": Ae3}


class Peer:
    """The same model in tinygrad, with one batch of the same pictures."""

    def __init__(self, options, records):
        self.batch = options.batch
        records = numpy.frombuffer(records, dtype=numpy.uint8).reshape(-1, turns.RECORD_BYTES)[: self.batch]
        pixels = records[:, 1:].reshape(-1, 3, 32, 32).astype(numpy.float32) / 255
        self.x, self.labels = Tensor(pixels).realize(), Tensor(records[:, 0].astype(numpy.int32)).realize()
        model = MODELS[options.model]()
        optimizer = nn.optim.Adam(get_parameters(model), lr=1e-3)

        def step(x, labels):
            with Context(TRAINING=1):
                optimizer.zero_grad()
                output = model(x)
                loss = ((output - x) ** 2).mean() if options.model == "ae3" else output.sparse_categorical_crossentropy(labels)
                return loss.backward().realize(*optimizer.schedule_step())

        self.step = TinyJit(step)

    def __call__(self, steps):
        begun = time.perf_counter()
        for _ in range(steps):
            loss = self.step(self.x, self.labels)
        value = loss.item()
        seconds = time.perf_counter() - begun
        if not numpy.isfinite(value):
            raise SystemExit(f"tinygrad's loss became {value}: what it took says nothing")
        return steps * self.batch / seconds


def main():
    parser = turns.arguments(__doc__, list(MODELS))
    parser.add_argument("--peer-steps", type=int, help="steps a round of tinygrad's, at least 3 (default: as many as ours)")
    options = parser.parse_args()
    if Device.DEFAULT != "WEBGPU":
        parser.error(f"tinygrad's device is {Device.DEFAULT}: set DEV=WEBGPU, and WEBGPU_PATH to Dawn's library")
    steps = options.steps if options.peer_steps is None else options.peer_steps
    if steps < 3:
        parser.error("a round of tinygrad's needs at least 3 steps: two capture the step")
    print(f"tinygrad on {Device.DEFAULT}")
    turns.compare(options, "tinygrad", lambda records: Peer(options, records), steps)


if __name__ == "__main__":
    main()
