#!/usr/bin/env bash
# Fails where the engine imports upwards, where a crate other than native/nif names rustler, or where a
# message is decoded past brod_protocol::decode_response, which checks its lengths.
#   net < cluster < producer, consumer, group, txn, admin < client
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find native/engine/src -mindepth 2 -name '*.rs' -print0 | sort -z | xargs -0 perl -e '
  use strict; use warnings;
  my %rank = (net => 1, cluster => 2, (map { $_ => 3 } qw(producer consumer group txn admin)),
              client => 4);
  my $names = join "|", sort keys %rank;
  my $bad = 0;
  for my $file (@ARGV) {
    my ($layer) = $file =~ m{^native/engine/src/(\w+)/};
    defined $rank{$layer} or do { print "$file: $layer is no known layer\n"; $bad = 1; next };
    open my $in, "<", $file or die "$file: $!";
    my $code = do { local $/; <$in> };
    $code =~ s{//[^\n]*}{}g;
    (my $live = $code) =~ s/^#\[cfg\(test\)\]\nmod \w+ \{.*//ms;
    if ($live =~ /\b(Decodable|ResponseKind)\b/) {
      print "$file: responses are decoded by brod_protocol::decode_response alone\n";
      $bad = 1;
    }
    my %imports;
    $imports{$1} = 1 while $code =~ /\b(?:crate|super)::($names)\b/g;
    while ($code =~ /\bcrate::(\{(?:[^{}]|(?1))*\})/g) {
      my $group = substr $1, 1, -1;
      1 while $group =~ s/\{[^{}]*\}//g;
      $imports{$1} = 1 while $group =~ /(?:^|,)\s*($names)\b/g;
    }
    for my $import (sort keys %imports) {
      next if $rank{$import} <= $rank{$layer};
      print "$file: $layer must not import $import, a layer above it\n";
      $bad = 1;
    }
  }
  exit $bad;
'

if grep -rnE '\brustler\b' native --include='*.rs' --include=Cargo.toml --exclude-dir=nif | grep -v '^[^:]*:[0-9]*: *//'; then
  echo "rustler belongs into native/nif only" >&2
  exit 1
fi
