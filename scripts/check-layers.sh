#!/usr/bin/env bash
# Holds the Rust sources to their layers. Fails where
#   - the engine imports upwards, or a room imports its sibling:
#       net < cluster < producer, consumer, group, admin, telemetry; and txn above producer
#   - a pure file (scripts/pure-files.txt) names tokio, a clock or random numbers, or a name there fits no file
#   - unsafe stands anywhere but in native/nif/src/raw.rs and raw/
#   - rustler is named outside native/nif, or tokio in native/protocol
#   - a type of resources is not handed over in a release upgrade
#   - the engine decodes a message past brod_protocol::decode_response, which checks its lengths.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find native -name '*.rs' -not -path '*/tests/*' -not -path '*/target/*' -print0 | sort -z | xargs -0 perl -e '
  use strict; use warnings;
  my %rank = (net => 1, cluster => 2, map({ $_ => 3 } qw(producer consumer group admin telemetry)), txn => 4);
  my $rooms = join "|", sort keys %rank;
  my $bad = 0;
  sub fault { print join(": ", @_), "\n"; $bad = 1 }

  my %pure;
  open my $list, "<", "scripts/pure-files.txt" or die $!;
  while (<$list>) {
    chomp;
    next if /^\s*(#|$)/;
    my $pattern = quotemeta $_;
    $pattern =~ s{\\\*\\\*}{.*}g;
    $pattern =~ s{\\\*}{[^/]*}g;
    my @fit = grep { m{^$pattern$} && !m{(^|[/_])tests?\.rs$} } @ARGV;
    fault("scripts/pure-files.txt", "no file fits $_") unless @fit;
    $pure{$_} = 1 for @fit;
  }

  for my $file (@ARGV) {
    open my $in, "<", $file or die "$file: $!";
    my $code = do { local $/; <$in> };
    $code =~ s{//[^\n]*}{}g;
    (my $live = $code) =~ s/^#\[cfg\(test\)\]\nmod \w+ \{.*//ms;

    fault($file, "unsafe belongs into native/nif/src/raw.rs and raw/ only")
      if $code =~ /\bunsafe\b(?!_code)/ && $file !~ m{^native/nif/src/raw(\.rs$|/)};
    fault($file, "rustler belongs into native/nif only") if $code =~ /\brustler\b/ && $file !~ m{^native/nif/};
    if ($pure{$file}) {
      for my $name ("tokio", "Instant::now", "SystemTime::now", "rand::") {
        fault($file, "a pure file must not name $name") if $live =~ /\b\Q$name\E/;
      }
    }

    my ($room) = $file =~ m{^native/engine/src/(\w+)[/.]};
    next if !$room || !$rank{$room};
    fault($file, "responses are decoded by brod_protocol::decode_response alone")
      if $live =~ /\b(Decodable|ResponseKind)\b/;
    my %imports;
    $imports{$1} = 1 while $code =~ /\bcrate::($rooms)\b/g;
    while ($code =~ /\bcrate::(\{(?:[^{}]|(?1))*\})/g) {
      my $group = substr $1, 1, -1;
      1 while $group =~ s/\{[^{}]*\}//g;
      $imports{$1} = 1 while $group =~ /(?:^|,)\s*($rooms)\b/g;
    }
    for my $import (sort keys %imports) {
      next if $import eq $room || $rank{$import} < $rank{$room};
      my $what = $rank{$import} == $rank{$room} ? "its sibling" : "a layer above it";
      fault($file, "$room must not import $import, $what");
    }
  }
  exit $bad;
'

# One that is missing there would make every upgrade of a release fail (ADR 30).
for type in $(grep -rhoE '^impl Resource for \w+' native/nif/src | sed 's/.* //'); do
  grep -q "::$type>()" native/nif/src/lib.rs || {
    echo "native/nif/src/lib.rs: LIBRARY does not name the resource $type" >&2
    exit 1
  }
done

if grep -nE 'tokio|rustler' native/protocol/Cargo.toml || grep -n rustler native/engine/Cargo.toml; then
  echo "native/protocol knows no tokio, and only native/nif knows rustler" >&2
  exit 1
fi
