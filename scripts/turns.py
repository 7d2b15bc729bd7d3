"""Our training speed beside a peer's, taking turns: what `against_*.py` have in common."""
import argparse
import json
import os
import statistics
import subprocess
import tempfile

RECORD_BYTES = 1 + 3072  # CIFAR-10's: a label, then the pixels
PICTURES = 20_000  # that `shapes` trains on


def arguments(description, models):
    """The options that all of them take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shadegrad", default="target/release/shadegrad", help="our program (default %(default)s)")
    parser.add_argument("--model", default="lenet", choices=models)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser


def ours(options, folder, steps):
    """Images a second of our training, and the adapter it ran on."""
    epochs = steps * options.batch // PICTURES + 2  # room for them all: an epoch's last batch is smaller
    command = [options.shadegrad, "train", "--model", options.model, "--data", "shapes", "--batch", str(options.batch),
               "--epochs", str(epochs), "--steps", str(steps), "--out", os.path.join(folder, "run"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    for line in done.stderr.splitlines():
        if line.startswith("kernels: tuned"):
            print(line)  # a table that 'bench --tune' kept: it is followed, and shown
    result = json.loads(done.stdout)
    if result["steps"] != steps:
        raise SystemExit(f"{result['steps']} steps were run rather than {steps}")
    return result["images_per_second"], result["adapter"]


def compare(options, peer_name, make_peer, peer_steps=None):
    """One round of each to warm up, then `--rounds` of each by turns; prints medians and the rounds' ratios.

    `make_peer(records)` takes the first file of the `shapes` pictures, as bytes in CIFAR-10's layout, and returns what
    trains so many steps and says how many images a second that were.
    """
    peer_steps = options.steps if peer_steps is None else peer_steps
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([options.shadegrad, "data", "--out", os.path.join(folder, "data")], check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(folder, "data", "data_batch_1.bin"), "rb") as file:
            peer = make_peer(file.read())
        found = {"shadegrad": [], peer_name: []}
        for number in range(options.rounds + 1):
            speed, adapter = ours(options, folder, options.steps)
            beside = peer(peer_steps)
            if number > 0:
                found["shadegrad"].append(speed)
                found[peer_name].append(beside)
    print(f"{options.model}, batch {options.batch}, {options.rounds} rounds of {options.steps} steps"
          + (f" ({peer_steps} of {peer_name}'s)" if peer_steps != options.steps else "") + ", taking turns")
    print(f"shadegrad on {adapter['name']} ({adapter['driver']})")
    for name, speeds in found.items():
        print(f"{name:<10} {statistics.median(speeds):8.1f} images/s (from {min(speeds):.1f} to {max(speeds):.1f})")
    ratios = [a / b for a, b in zip(found["shadegrad"], found[peer_name])]
    print(f"ratio      {statistics.median(ratios):8.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")
