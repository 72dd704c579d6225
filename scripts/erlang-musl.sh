#!/usr/bin/env bash
# An Erlang for musl, which Debian has none of: the emulator of the installed Erlang's sources, built by zig, with the installed
# Erlang's own beam files, in a folder to chroot into. Prints that folder.
#   erlang-musl.sh ARCH    x86_64 or aarch64, of which the latter runs by qemu
# There is no crypto and no compiler of machine code in it: it is for trying what `make precompiled` builds.
set -euo pipefail
arch=$1
case "$arch" in
  x86_64) debian=amd64 ;;
  aarch64) debian=arm64 ;;
esac
folder=${MATRIX_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/brod-matrix}
root=$folder/musl-$arch
python=${XDG_CACHE_HOME:-$HOME/.cache}/brod-tools/zigbuild/bin/python
mkdir -p "$folder"
exec {lock}>"$root.lock"
flock "$lock"

# Debian's lists with the sources in them, beside the system's own.
sources() {
  local parts=$work/apt
  mkdir -p "$parts/parts" "$parts/lists/partial"
  if [ -e /etc/apt/sources.list.d/debian.sources ]; then
    sed 's/^Types: .*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$parts/parts/debian.sources"
  else
    sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$parts/parts/debian.list"
  fi
  local apt=(apt-get -qq -o Dir::Etc::sourcelist=/nowhere -o "Dir::Etc::sourceparts=$parts/parts" -o "Dir::State::lists=$parts/lists")
  "${apt[@]}" update
  "${apt[@]}" source --download-only "erlang=$(dpkg-query -W -f '${Version}' erlang-base)"
  mkdir source
  tar -xf erlang_*.orig.tar.* -C source --strip-components 1
}

# zig as the compiler. What depends on what need not be known: all is built once.
compilers() {
  local name
  mkdir bin
  for name in cc c++ ar ranlib; do
    {
      echo '#!/bin/sh'
      case "$name" in
        c*)
          # shellcheck disable=SC2016
          echo 'for option; do [ "$option" != -MM ] || exit 0; done'
          echo "exec '$python' -m ziglang $name -target $arch-linux-musl -dynamic \"\$@\""
          ;;
        *) echo "exec '$python' -m ziglang $name \"\$@\"" ;;
      esac
    } >"bin/$name"
    chmod +x "bin/$name"
  done
}

# The VM and the programs that it starts. The last ones that are made are others, some of which cannot be linked.
emulator() {
  local name tools=() built
  for name in CC:cc CXX:c++ AR:ar RANLIB:ranlib; do tools+=("${name%:*}=$work/bin/${name#*:}"); done
  export ERL_TOP=$work/source
  (
    cd source
    ./configure --build=x86_64-linux-gnu "--host=$arch-linux-musl" "${tools[@]}" CFLAGS='-O2 -fno-sanitize=all' --disable-jit \
      --without-termcap --without-javac --without-ssl --without-wx --without-odbc --without-megaco --without-systemd --disable-sctp
    make -j2 emulator || true
  )
  built=$(cd source/bin && echo *-linux-musl)
  local erts=source/erts include=()
  for name in "$erts/$built" "$erts"/include{,/internal}{,"/$built"} "$erts"/emulator/{sys/unix,sys/common,beam} "$erts/etc/common"; do
    include+=("-I$name")
  done
  mkdir -p "$root/erts"
  bin/cc -O2 -DHAVE_CONFIG_H "${include[@]}" -o "$root/erts/inet_gethost" "$erts/etc/common/inet_gethost.c" \
    "$erts/lib/internal/$built/liberts_internal_r.a"
  cp "source/bin/$built"/{beam.smp,erl_child_setup} "$root/erts/"
}

# musl's loader, which is its libc, and the rest of what there is in a machine.
around() {
  local erlang name
  erlang=$(erl -noshell -eval 'io:put_chars(code:root_dir()), halt().')
  curl -sSf "$(apt-get download --print-uris musl | cut -d"'" -f2 | sed "s/_amd64\.deb$/_$debian.deb/")" -o musl.deb
  dpkg-deb -x musl.deb "$root"
  mkdir -p "$root"/{dev,etc,erlang/lib,erlang/bin,root,tmp}
  for name in kernel stdlib; do cp -rL "$erlang/lib/$name"-* "$root/erlang/lib/"; done
  cp -L "$erlang"/bin/start_clean.boot "$root/erlang/bin/start.boot"
  mknod -m 666 "$root/dev/null" c 1 3
  mknod -m 666 "$root/dev/urandom" c 1 9
  echo '127.0.0.1 localhost' >"$root/etc/hosts"
}

if [ ! -e "$root/ready" ]; then
  rm -rf "$root"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  { sources && compilers && emulator && around; } >&2
  touch "$root/ready"
fi
echo "$root"
