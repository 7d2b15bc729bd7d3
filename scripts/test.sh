#!/usr/bin/env bash
# Runs every test: scripts/test.sh [arguments for cargo test]
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/vulkan.sh
cargo test --release --locked "$@"
