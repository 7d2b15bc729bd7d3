#!/usr/bin/env bash
# Runs the lab on the built-in pictures and leaves weights, numbers and plots: scripts/lab.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/vulkan.sh
out=${1:-out}

cargo build --release --locked
shadegrad=${CARGO_TARGET_DIR:-target}/release/shadegrad

echo "== A classifier learns the ten shapes"
"$shadegrad" train --model lenet --data shapes --epochs 6 --out "$out/lenet"
echo "== Its scores: shapes against noise (FakeData) and against plain colours"
"$shadegrad" ood --weights "$out/lenet/last.safetensors" --data shapes --ood fake --out "$out/lenet-fake"
"$shadegrad" ood --weights "$out/lenet/last.safetensors" --data shapes --ood constant --out "$out/lenet-constant"
echo "== An autoencoder learns to redraw them; noise it cannot redraw"
"$shadegrad" train --model ae3 --data shapes --epochs 3 --out "$out/ae3"
"$shadegrad" ood --weights "$out/ae3/last.safetensors" --data shapes --ood fake --out "$out/ae3-fake"
echo "== Done. Pictures:"
ls "$out"/*/*.png
