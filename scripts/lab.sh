#!/usr/bin/env bash
# Runs every exercise of the lab on the built-in pictures and leaves one report: scripts/lab.sh [FOLDER]
# An interrupted run goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/vulkan.sh
out=${1:-out/lab}

cargo build --release --locked
"${CARGO_TARGET_DIR:-target}/release/shadegrad" lab --preset demo --out "$out"
