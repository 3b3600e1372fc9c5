#!/usr/bin/env bash
# Prints the Rust crates that are linked into the binary, with their licences, and every licence text that they and the
# standard library carry, each text once.
#
# usage: TARGET=x86_64-unknown-linux-gnu packaging/crates.sh >FILE
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C

fail() {
    printf '%s\n' "packaging/crates.sh: $*" >&2
    exit 1
}

# directory NAME VERSION: where cargo has unpacked a crate.
directory() {
    local found
    for found in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1-$2"; do
        [ -d "$found" ] && printf '%s\n' "$found" && return
    done
    fail "$1 $2: its source is not in cargo's registry; run cargo fetch"
}

# texts DIRECTORY: the licence texts at its top.
texts() {
    find "$1" -maxdepth 1 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'copyright*' -o \
        -iname 'notice*' -o -iname 'unlicense*' \) | sort
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target=${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
# Procedural macros run in the compiler and are not linked.
cargo tree --locked --edges normal,no-proc-macro --target "$target" --prefix none --format '{p}|{l}' >"$work/tree"
sed -e 's/ (\*)$//' -e '/ (proc-macro)/d' "$work/tree" | sort -u >"$work/crates"

mkdir "$work/texts"
# keep LABEL FILE
keep() {
    local digest
    digest=$(sha256sum <"$2" | cut -d ' ' -f 1)
    [ -e "$work/texts/$digest" ] || cp "$2" "$work/texts/$digest"
    printf '%s: %s\n' "$1" "${2##*/}" >>"$work/texts/$digest.of"
}

printf 'The Rust crates that are linked into s3imageserver, and their licences:\n\n'
while IFS='|' read -r crate licence; do
    read -r name version place <<<"$crate"
    # The program itself.
    case $place in */*) continue ;; esac
    version=${version#v}
    printf '  %-28s %-12s %s\n' "$name" "$version" "$licence"
    source=$(directory "$name" "$version")
    while IFS= read -r file; do keep "$name $version" "$file"; done < <(texts "$source")
done <"$work/crates"
library=$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html
printf '  %-28s %-12s %s\n\n' "the standard library" "$(rustc --version | cut -d ' ' -f 2)" 'MIT OR Apache-2.0'
if [ -f "$library" ]; then keep 'the standard library' "$library"; fi

# In the order of the crates.
for of in "$work"/texts/*.of; do printf '%s\t%s\n' "$(head -n 1 "$of")" "${of%.of}"; done | sort >"$work/order"
while IFS=$'\t' read -r _ file; do
    printf '\n%s\n' '--------------------------------------------------------------------------------'
    cat "$file.of"
    printf '%s\n\n' '--------------------------------------------------------------------------------'
    tr -d '\r' <"$file" | awk 1
done <"$work/order"
