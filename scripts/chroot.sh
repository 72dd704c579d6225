#!/usr/bin/env bash
# Makes a chroot of a Debian release once, with packages, and prints where it is. Needs root.
#   chroot.sh RELEASE PACKAGE...
# The chroots stay in MATRIX_DIR.
set -euo pipefail
dir=${MATRIX_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/brod-matrix}
release=$1
root=$dir/$release
shift

command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap >&2
mkdir -p "$dir"
# One at a time: the other one waits, and finds it ready.
exec 9>"$dir/$release.lock"
flock 9
if [ ! -e "$root/ready" ]; then
  rm -rf "$root"
  debootstrap --variant=minbase "$release" "$root" >&2
  touch "$root/ready"
fi
if ! chroot "$root" dpkg-query -W "$@" >/dev/null 2>&1; then
  # shellcheck disable=SC2016
  DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' sh "$@" >&2
fi
# Packages leave it out, and tests ask for localhost.
[ -e "$root/etc/hosts" ] || echo '127.0.0.1 localhost' >"$root/etc/hosts"
echo "$root"
