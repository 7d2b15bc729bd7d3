#!/usr/bin/env python3
"""Make the golden files of the whole-model tests: what PyTorch computes for our models.

    make_golden.py --out DIR                              # all six files
    make_golden.py --out DIR --model fast                 # one model's
    make_golden.py --out DIR --only-curve --check-curve   # the curve, and how far f32 runs of PyTorch part
    make_golden.py --out DIR --report                     # how far f32 PyTorch is from the f64 goldens

Nothing but numbers has to travel: weights and images come from the counter-based generator of
`src/random.rs` (Philox-4x32-10), which is computed again here, so a golden file holds only samples
and norms and stays a few KiB.

Golden files of one training step, `golden_<model>.safetensors` (all tensors f32):

    init.<param>.{sample,spread}      initial weights, to be met bit for bit
    output.{sample,spread,norm}       the model's output; for classifiers the whole of it is `logits`
    loss [1]                          mean cross-entropy, or mean squared error to the input
    input_grad.{sample,spread,norm}   gradient of `loss` by the input
    input_grad_fixed_target.{...}     autoencoders only: the same with the target held constant
    grad.<param>.{sample,spread,norm} gradient of `loss` by a parameter
    adam.losses [11]                  loss before each of ten Adam steps on that batch, and after the last
    adam.<param>.{sample,spread,norm} the parameter after those ten steps

`fast` has frozen tensors and running statistics, too, under `init` and `adam`; its whitening is computed here with numpy
from the batch's own pixels.

`sample` holds elements 0, stride, 2*stride, ... of the row-major tensor: min(64, numel) of them, with
stride = max(1, numel // 64). Such a stride is often a multiple of the row length, so that all of the
sample lies in column 0 (of fc1's gradient in `lab` it is all zero); `spread` therefore holds elements
(k * 1000003) mod numel for k in 0..min(64, numel). `norm` is the Euclidean norm. Everything is
computed in f64 from the f32 weights and f32 pixels, and rounded to f32 once, at the end.

The golden curve, `golden_lab_curve.safetensors`: `losses` [200], the loss before each update when `lab` is trained in
f32 on batches that `curve_batch` makes; `lr` [1]. --check-curve prints how far the same training strays when only the
rounding differs (another memory layout, f64).
"""
import argparse
import math
import os
import warnings

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.numpy import save_file

SEED = 7
SAMPLES = 64
SPREAD = 1_000_003  # a prime above any row length
ADAM_STEPS = 10
ADAM_LR = 1e-3
BATCH_SIZES = {"lenet": 16, "lab": 4, "fast": 4, "ae3": 8, "ae4": 8}
CURVE_STEPS, CURVE_BATCH, CURVE_WINDOW = 200, 32, 20
CURVE_ITEM = 1000  # the first stream of the curve's pictures
IMAGE = (3, 32, 32)
IMAGE_BYTES = 3072
RECORD_BYTES = 1 + IMAGE_BYTES


# ---------------------------------------------------------------- random numbers (src/random.rs)
PURPOSE_WEIGHTS, PURPOSE_TEST = 1, 10
MULTIPLIER = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW_WORD, WORD_BITS = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(counter, key):
    """Ten rounds of Philox-4x32: `counter` is four uint64 arrays of 32-bit words, `key` two ints."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = MULTIPLIER[0] * c0, MULTIPLIER[1] * c2  # at most 64 bits: exact
        c0, c1, c2, c3 = (
            (product1 >> WORD_BITS) ^ c1 ^ np.uint64(k0),
            product1 & LOW_WORD,
            (product0 >> WORD_BITS) ^ c3 ^ np.uint64(k1),
            product0 & LOW_WORD,
        )
        k0, k1 = (k0 + WEYL[0]) & 0xFFFFFFFF, (k1 + WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def words(seed, purpose, item, count):
    """Words 0..count of the stream (seed, purpose, item), as uint32."""
    block = np.arange((count + 3) // 4, dtype=np.uint64)
    counter = [block] + [np.full_like(block, v) for v in (item, purpose, 0)]
    out = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return np.stack(out, axis=1).reshape(-1)[:count].astype(np.uint32)


def check_philox():
    """The known-answer vectors of Random123."""
    vectors = [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]
    for counter, key, want in vectors:
        counter = [np.array([int(word, 16)], dtype=np.uint64) for word in counter.split()]
        got = philox4x32(counter, [int(word, 16) for word in key.split()])
        got = " ".join(f"{int(word[0]):08x}" for word in got)
        if got != want:
            raise SystemExit(f"Philox is wrong: {got}, expected {want}")


# ---------------------------------------------------------------- models
class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = (x - 0.5) / 0.5
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


class Lab(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 1, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1, 1)
        self.conv3 = nn.Conv2d(64, 128, 3, 1, 1)
        self.conv4 = nn.Conv2d(128, 128, 3, 2, 1)
        self.conv5 = nn.Conv2d(128, 256, 3, 2, 1)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16384, 256), nn.Linear(256, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = (x - 0.5) / 0.5
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            x = F.relu(conv(x))
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


class Block(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x):
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class Fast(nn.Module):
    def __init__(self):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.block1, self.block2, self.block3 = Block(3 * 8, 64), Block(64, 256), Block(256, 256)
        self.head = nn.Linear(256, 10, bias=False)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not is_frozen(name))

    def forward(self, x):
        mean, std = (torch.tensor(v, dtype=x.dtype).view(1, 3, 1, 1) for v in (FAST_MEAN, FAST_STD))
        x = F.gelu(self.whiten((x - mean) / std))
        x = F.max_pool2d(self.block3(self.block2(self.block1(x))), 3)
        return self.head(x.flatten(1) / 9)


FAST_MEAN, FAST_STD, WHITEN_EPS = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 5e-4


def is_frozen(name):
    return name == "whiten.weight" or (".norm" in name and name.endswith(".weight"))


def whitening(x):
    """Filters and biases for the 2x2 patches of `x`, pixels in f64."""
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (FAST_MEAN, FAST_STD))
    x = (x - mean) / std
    patches = np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(2, 3))  # N, C, y, x, dy, dx
    patches = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values, vectors = np.linalg.eigh(np.cov(patches.T, bias=True))
    rows = []
    for value, vector in sorted(zip(values, vectors.T), key=lambda pair: -pair[0]):
        sign = np.sign(vector[np.argmax(np.abs(vector))])
        rows.append(sign * vector / np.sqrt(value + WHITEN_EPS))
    rows = np.array(rows)
    bias = -rows @ patches.mean(axis=0)
    return np.concatenate([rows, -rows]).reshape(24, 3, 2, 2), np.concatenate([bias, -bias])


class Autoencoder(nn.Module):
    def __init__(self, *channels):
        super().__init__()
        encoder, decoder = [], []
        for a, b in zip(channels, channels[1:]):
            encoder += [nn.Conv2d(a, b, 4, 2, 1), nn.ReLU()]
            decoder = [nn.ConvTranspose2d(b, a, 4, 2, 1), nn.ReLU() if decoder else nn.Sigmoid()] + decoder
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)

    def forward(self, x):
        return self.decoder(self.encoder(x))


MODELS = {
    "lenet": LeNet,
    "lab": Lab,
    "fast": Fast,
    "ae3": lambda: Autoencoder(3, 12, 24, 48),
    "ae4": lambda: Autoencoder(3, 12, 24, 48, 96),
}


def is_autoencoder(name):
    return name.startswith("ae")


def initial_weights(model, seed=SEED):
    """Our default initialisation: PyTorch's distribution, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), from our generator."""
    state, bound, number = {}, None, -1
    for name, old in model.state_dict().items():
        if isinstance(model, Fast) and (is_frozen(name) or "conv" not in name and name != "head.weight"):
            # PyTorch's own beginning is ours: ones and zeros. What is trained of it has a number all the same.
            state[name] = old
            number += int(name.endswith(".bias"))
            continue
        number += 1
        if name.endswith(".weight"):  # its bias comes next and has the same bound
            fan_in = old.shape[1] * math.prod(old.shape[2:])
            bound = np.float32(1 / math.sqrt(fan_in))
        unit = (words(seed, PURPOSE_WEIGHTS, number, old.numel()) >> 8).astype(np.float32) / np.float32(1 << 24)
        values = (np.float32(2) * unit - np.float32(1)) * bound
        assert values.dtype == np.float32
        state[name] = torch.from_numpy(values.reshape(tuple(old.shape)))
    if isinstance(model, Fast):
        bytes_ = (golden_batch("fast")[0].double() * 255).round()
        filters, bias = whitening((bytes_ / 255).numpy())
        state["whiten.weight"] = torch.from_numpy(filters.astype(np.float32))
        state["whiten.bias"] = torch.from_numpy(bias.astype(np.float32))
    return state


def make_model(name, dtype, channels_last=False):
    model = MODELS[name]()
    model.load_state_dict(initial_weights(model), strict=True)
    model = model.to(dtype)
    return model.to(memory_format=torch.channels_last) if channels_last else model


# ---------------------------------------------------------------- one batch
def pixels(image_bytes):
    """u8 in planar CHW -> f32 in [0, 1], one rounding."""
    return torch.from_numpy(image_bytes.astype(np.float32) / np.float32(255)).reshape(-1, *IMAGE)


def golden_batch(name):
    count = BATCH_SIZES[name]
    images = np.stack([words(SEED, PURPOSE_TEST, i, IMAGE_BYTES) >> 24 for i in range(count)])
    return pixels(images), torch.arange(count) % 10


def loss_of(name, output, x, labels):
    return F.mse_loss(output, x) if is_autoencoder(name) else F.cross_entropy(output, labels)


def single_step_and_adam(name, dtype, channels_last=False):
    """Every full tensor that a golden file samples, by the file's names, in f64 (`dtype` is that of the run)."""
    x, labels = golden_batch(name)
    x = x.to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    model = make_model(name, dtype, channels_last)
    full = {f"init.{k}": v.clone() for k, v in initial_weights(model).items() if v.is_floating_point()}

    leaf = x.clone().requires_grad_(True)
    output = model(leaf)
    loss = loss_of(name, output, leaf, labels)
    parameters = {k: v for k, v in model.named_parameters() if v.requires_grad}
    gradients = torch.autograd.grad(loss, [leaf, *parameters.values()], retain_graph=True)
    full["output"], full["loss"], full["input_grad"] = output, loss.reshape(1), gradients[0]
    full.update({f"grad.{k}": g for k, g in zip(parameters, gradients[1:])})
    if is_autoencoder(name):
        fixed = loss_of(name, output, x, labels)
        full["input_grad_fixed_target"] = torch.autograd.grad(fixed, leaf)[0]

    adam, losses = torch.optim.Adam(model.parameters(), lr=ADAM_LR), []
    for _ in range(ADAM_STEPS):
        adam.zero_grad()
        loss = loss_of(name, model(x), x, labels)
        losses.append(loss.item())
        loss.backward()
        adam.step()
    with torch.no_grad():
        losses.append(loss_of(name, model(x), x, labels).item())
    full["adam.losses"] = torch.tensor(losses, dtype=torch.float64)
    full.update({f"adam.{k}": v for k, v in model.state_dict().items() if v.is_floating_point()})
    return {k: v.detach().double().contiguous().numpy() for k, v in full.items()}


def sample(tensor):
    flat = tensor.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLES)][:SAMPLES]


def spread(tensor):
    flat = tensor.reshape(-1)
    return flat[np.arange(min(SAMPLES, flat.size), dtype=np.int64) * SPREAD % flat.size]


def norm(tensor):
    return np.sqrt(np.sum(np.square(tensor.reshape(-1)))).reshape(1)


def golden_tensors(name, full):
    """What goes into the file."""
    tensors = {}
    for key, value in full.items():
        if key in ("loss", "adam.losses"):
            tensors[key] = value
            continue
        tensors[f"{key}.sample"], tensors[f"{key}.spread"] = sample(value), spread(value)
        if not key.startswith("init."):
            tensors[f"{key}.norm"] = norm(value)
    if not is_autoencoder(name):
        tensors["logits"] = full["output"]
    return tensors


def write(folder, name, tensors, about):
    path = os.path.join(folder, f"golden_{name}.safetensors")
    tensors = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}
    # One metadata key only: the order of several is not the same from run to run.
    save_file(tensors, path, metadata={"about": f"make_golden.py, PyTorch {torch.__version__}: {about}"})
    os.chmod(path, 0o644)
    print(f"{path}: {len(tensors)} tensors, {os.path.getsize(path)} bytes")


# ---------------------------------------------------------------- how far f32 is from the goldens
def report(name, truth):
    """Print how far f32 PyTorch lies from `truth` (f64), for three ways of rounding the same f32 maths.

    Each figure is the worst over a group of tensors: `norm` is the relative difference of the
    norms, `sample` and `all` the largest difference of an element (of the file's sample and spread,
    of the whole tensor) over the largest magnitude in that tensor; `element` is the largest relative
    difference of one sampled element to itself. `x` is the number of elements, of all, whose
    difference is above 1e-3 of the tensor's largest magnitude. `l2` is the Euclidean norm of the
    sample's difference over that of the sample: the figure to use for weights after Adam, whose
    single elements are unstable where the gradient is nearly zero.
    """
    groups = {
        "output": lambda k: k == "output",
        "loss": lambda k: k == "loss",
        "input gradient": lambda k: k.startswith("input_grad"),
        "gradients": lambda k: k.startswith("grad."),
        "adam losses": lambda k: k == "adam.losses",
        "adam weights": lambda k: k.startswith("adam.") and k != "adam.losses",
    }
    for label, mkldnn, channels_last in (("oneDNN", True, False), ("oneDNN NHWC", True, True), ("plain", False, False)):
        with torch.backends.mkldnn.flags(enabled=mkldnn):
            run = single_step_and_adam(name, torch.float32, channels_last)
        for group, belongs in groups.items():
            worst = {"norm": (0, ""), "sample": (0, ""), "l2": (0, ""), "all": (0, ""), "element": (0, "")}
            off = total = 0
            for key in filter(belongs, truth):
                want, got = truth[key], run[key]
                scale = np.abs(want).max()
                difference = np.abs(got - want)
                s, d = (np.concatenate([sample(v), spread(v)]) for v in (np.abs(want), difference))
                figures = {
                    "norm": abs(norm(got)[0] / norm(want)[0] - 1),
                    "sample": d.max() / scale,
                    "l2": norm(d)[0] / max(norm(s)[0], 1e-300),
                    "all": difference.max() / scale,
                    "element": np.divide(d, s, out=np.zeros_like(d), where=s > 0).max(),
                }
                for figure, value in figures.items():
                    worst[figure] = max(worst[figure], (float(value), key))
                off += int((difference > 1e-3 * scale).sum())
                total += difference.size
            figures = "  ".join(f"{k} {v:.1e} {key.split('.', 1)[-1]:<16.16}" for k, (v, key) in worst.items())
            print(f"  {name:<6} f32 {label:<12} {group:<15} {figures} x {off}/{total}")


# ---------------------------------------------------------------- the curve
def curve_batch(step):
    """Batch `step`: each picture has a colour of its own, shifted by its class's, under noise; it cannot be told surely.

    Pictures that are easier, or as hard as `shapes`, make the loss stand still and then fall off a cliff, and the step
    at which it falls depends on the last bit: two runs of PyTorch part by tens of per cent there.
    """
    labels = (step * CURVE_BATCH + np.arange(CURVE_BATCH)) % 10
    images = np.empty((CURVE_BATCH, 3, IMAGE_BYTES // 3), dtype=np.int64)
    for row, label in enumerate(labels):
        drawn = words(SEED, PURPOSE_TEST, CURVE_ITEM + step * CURVE_BATCH + row, IMAGE_BYTES + 3).astype(np.int64)
        for channel in range(3):
            colour = (drawn[IMAGE_BYTES + channel] >> 25) + (53 * label + 97 * channel) % 64
            images[row, channel] = (drawn[:IMAGE_BYTES] >> 26).reshape(3, -1)[channel] + colour
    return pixels(images.reshape(CURVE_BATCH, -1)), torch.from_numpy(labels)


def curve(lr, dtype=torch.float32, channels_last=False):
    """Losses of `lab`, each before its update."""
    model = make_model("lab", dtype, channels_last)
    adam, losses = torch.optim.Adam(model.parameters(), lr=lr), []
    for step in range(CURVE_STEPS):
        x, labels = curve_batch(step)
        x = x.to(dtype)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        adam.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        losses.append(loss.item())
        loss.backward()
        adam.step()
    return np.array(losses)


def print_curve(losses):
    first, last = losses[:20].mean(), losses[-20:].mean()
    verdict = "falls" if last < 0.95 * first else "DOES NOT FALL by 5 %"
    print(f"curve: mean of the first 20 losses {first:.4f}, of the last 20 {last:.4f}: {verdict}")
    print("curve: every 20th loss " + " ".join(f"{v:.4f}" for v in losses[::20]) + f", last {losses[-1]:.4f}")


def check_curve(lr, losses):
    """Print how far the same training strays when only the rounding differs."""
    for label, options in (("f32 NHWC", {"channels_last": True}), ("f64", {"dtype": torch.float64})):
        other = curve(lr, **options)
        step = 100 * np.abs(other / losses - 1)
        means = [v.reshape(-1, CURVE_WINDOW).mean(axis=1) for v in (other, losses)]
        window = 100 * np.abs(means[0] / means[1] - 1)
        above = ", ".join(f"{(step > limit).sum()} steps above {limit} %" for limit in (0.3, 2))
        together = np.argmax(step > 0.3) if (step > 0.3).any() else CURVE_STEPS
        print(f"curve: f32 against {label}: at most {step.max():.3f} % (step {step.argmax()}), {above}, within 0.3 % before step {together}")
        print(f"curve: f32 against {label}: means of {CURVE_WINDOW} steps at most {window.max():.3f} %", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the golden files")
    parser.add_argument("--report", action="store_true", help="print how far f32 PyTorch is from the f64 goldens")
    parser.add_argument("--model", choices=MODELS, help="make the file of this model and nothing else")
    parser.add_argument("--only-curve", action="store_true", help="make the curve and nothing else")
    parser.add_argument("--curve-lr", type=float, default=5e-5, help="Adam's learning rate for the curve (default %(default)s)")
    parser.add_argument("--check-curve", action="store_true", help="train twice more with other rounding and print the deviation")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
    os.makedirs(arguments.out, exist_ok=True)
    check_philox()
    if not arguments.only_curve:
        for name in [arguments.model] if arguments.model else MODELS:
            truth = single_step_and_adam(name, torch.float64)
            write(arguments.out, name, golden_tensors(name, truth), f"{name}, seed {SEED}, batch {BATCH_SIZES[name]}, computed in f64")
            if arguments.report:
                report(name, truth)
    if arguments.model:
        return
    lr = arguments.curve_lr
    losses = curve(lr)
    about = f"lab, seed {SEED}, batch {CURVE_BATCH}, Adam lr {lr:g}, f32"
    write(arguments.out, "lab_curve", {"losses": losses, "lr": np.array([lr])}, about)
    print_curve(losses)
    if arguments.check_curve:
        check_curve(lr, losses)


if __name__ == "__main__":
    main()
