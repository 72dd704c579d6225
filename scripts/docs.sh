#!/usr/bin/env bash
# Builds the documentation as a site, in _build/docs, and checks its links: one that leads nowhere fails.
#   docs.sh
# ExDoc makes it, where Elixir has it (Debian's elixir-ex-doc, from trixie on); else in a chroot that has, which needs root.
# The library is not built for it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
# Each run has folders of its own: two at once do not meet.
made=_build/docs.$$ inside=
trap 'rm -rf "$work" "$made" ${inside:+"$inside"}' EXIT

# A copy, for another Erlang compiles it, without the library.
copy() {
  mkdir -p "$1"
  git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cT - | tar -xC "$1"
  printf '#!/bin/sh\nmkdir -p "$1"\n' >"$1/scripts/build-nif.sh"
}
docs='MIX_ENV=prod mix do compile + docs --formatter html --warnings-as-errors'

if (cd "$work" && mix help docs) >/dev/null 2>&1; then
  copy "$work/brod"
  (cd "$work/brod" && bash -c "$docs")
  site=$work/brod/_build/docs
else
  root=$(scripts/chroot.sh trixie erlang-base erlang-dev erlang-edoc erlang-ssl elixir elixir-ex-doc)
  inside=$root/brod-docs.$$
  copy "$inside"
  chroot "$root" env -i HOME=/root LANG=C.UTF-8 PATH="$PATH" bash -euc "cd /brod-docs.$$; $docs"
  site=$inside/_build/docs
fi
mkdir -p _build
cp -r "$site" "$made"
# Where the guides stand, pictures are one folder up, and below docs/ for what stands at the top.
sed -i -E 's#src="(\.\./|docs/)images/#src="images/#g' "$made"/*.html
# ExDoc's pages ask for it: where a site has several versions, it lists them.
[ -e "$made/docs_config.js" ] || : >"$made/docs_config.js"
scripts/check-links.escript "$made"
rm -rf _build/docs
mv "$made" _build/docs
echo "docs: _build/docs/index.html"
