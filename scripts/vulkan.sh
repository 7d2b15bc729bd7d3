# Makes sure that there is a Vulkan driver. Sourced by lab.sh and test.sh, from the top of the repository.
#
# A GPU's own driver is never touched: something is installed only where there is no driver at all, and then it
# is Mesa's software one, which runs on any processor. Windows (DX12) and macOS (Metal) need nothing.

has_vulkan() {
  [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
  local folder
  for folder in /usr/share /usr/local/share /etc /run/opengl-driver/share "${XDG_DATA_HOME:-$HOME/.local/share}"; do
    ls "$folder"/vulkan/icd.d/*.json >/dev/null 2>&1 && return 0
  done
  return 1
}

need_vulkan() {
  [ "$(uname -s)" = Linux ] || return 0
  has_vulkan && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
    if ! command -v sudo >/dev/null; then
      echo "error: no Vulkan driver here, and installing one needs root. Ask an administrator to install it" \
        "(Debian/Ubuntu: apt-get install mesa-vulkan-drivers; Fedora: dnf install mesa-vulkan-drivers;" \
        "Arch: pacman -S vulkan-swrast vulkan-icd-loader)." >&2
      return 1
    fi
  fi
  if ! command -v apt-get >/dev/null; then
    echo "error: no Vulkan driver here. Install one (Fedora: dnf install mesa-vulkan-drivers;" \
      "Arch: pacman -S vulkan-swrast vulkan-icd-loader) and run this again." >&2
    return 1
  fi
  echo "No Vulkan driver here: installing mesa-vulkan-drivers (a software Vulkan for any processor)." >&2
  "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers \
      >/dev/null && return 0
  echo "error: mesa-vulkan-drivers could not be installed; the lines above say why." >&2
  return 1
}

if ! command -v cargo >/dev/null; then
  echo "error: cargo was not found: install Rust (rustup.rs) and run this again." >&2
  exit 1
fi
need_vulkan || exit 1

# Mesa's device-select layer prints an error where there is no desktop session; nothing here needs the layer.
[ -n "${XDG_RUNTIME_DIR:-}" ] || export NODEVICE_SELECT=1
