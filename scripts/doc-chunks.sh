#!/usr/bin/env bash
# Writes the documentation chunks (EEP-48) of brod's modules, which `h(brod)` in erl and `h :brod.produce`
# in iex show, beside the beam files.
#   doc-chunks.sh [APP_DIR]
# APP_DIR is a built application; without it, those in rebar3's build folder. Nothing happens where Erlang
# comes without edoc, or where the chunks are newer than the sources: a build never fails for its documentation.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

if [ $# -gt 0 ]; then
  apps=("$1")
else
  apps=("${REBAR_BUILD_DIR:-$root/_build/default}"/{lib,checkouts}/brod)
fi

for app in "${apps[@]}"; do
  [ -d "$app/ebin" ] || continue
  chunks=$app/doc/chunks
  if [ -e "$chunks/brod.chunk" ] &&
    [ -z "$(find "$root/src" "$root/include" -newer "$chunks/brod.chunk" -name '*.[eh]rl' -print -quit)" ]; then
    continue
  fi
  # A program without documentation is none to complain of each time that it is built.
  if ! erl -noshell -eval 'halt(length([M || M <- [edoc, erl_comment_scan], code:which(M) =:= non_existing])).'; then
    [ -d "$chunks" ] || echo "brod: h will show no documentation: Erlang is without edoc here (Debian: erlang-edoc)" >&2
    mkdir -p "$chunks"
    continue
  fi
  mkdir -p "$chunks"
  chunks=$(cd "$chunks" && pwd -P)
  (
    cd "$root"
    erl -noshell -eval '
      Options = [{doclet, edoc_doclet_chunks}, {layout, edoc_layout_chunks}, {dir, hd(init:get_plain_arguments())},
                 {includes, ["include"]}, {preprocess, true}],
      try edoc:files(lists:sort(filelib:wildcard("src/*.erl")), Options)
      catch Class:Reason -> io:format(standard_error, "brod: no documentation chunks: ~p~n", [{Class, Reason}])
      end,
      halt().' -extra "${chunks%/chunks}"
    escript scripts/doc-callbacks.escript "$chunks" src/*.erl
  ) || true
done
