#!/usr/bin/env bash
# Makes docs/images: the answers of the built server to the examples in docs/options.md.
#
# usage: docs/options.sh [BINARY]
set -euo pipefail
cd "$(dirname "$0")/.."

BINARY=${1:-./s3imageserver}
PAGE=docs/options.md
PICTURES=docs/images
MAX_BYTES=300000

fail() {
    printf '%s\n' "docs/options.sh: $*" >&2
    exit 1
}

[ -x "$BINARY" ] || fail "there is no $BINARY: run make first"
command -v curl >/dev/null || fail "curl is missing"

work=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

# The handler of config.example.json that the examples name, without a cache and on a free port.
cat >"$work/config.json" <<JSON
{"handlers": [{"name": "samples", "directory": "examples/images"}], "address": "127.0.0.1", "http_port": 0}
JSON
"$BINARY" -c "$work/config.json" >/dev/null 2>"$work/log" &
server=$!
for _ in $(seq 100); do
    base=$(sed -n 's/^.* listening on \(http:.*\)$/\1/p' "$work/log")
    [ -z "$base" ] || break
    sleep 0.1
done
[ -n "$base" ] || fail "the server does not listen: $(cat "$work/log")"

# An example is a row of a table: | `/samples/…` | ![](images/…) |
# shellcheck disable=SC2016 # the backquotes are Markdown's
sed -n 's/^| `\(\/samples\/[^`]*\)` | !\[\](pictures\/\([a-z0-9.-]*\)) |$/\1 \2/p' "$PAGE" >"$work/examples"
[ -s "$work/examples" ] || fail "$PAGE has no examples"
mkdir "$work/pictures"
while read -r target name; do
    case $target in
    *[\?\&]f=*) ;;
    *) target="$target&f=webp&q=60" ;;
    esac
    [ ! -e "$work/pictures/$name" ] || fail "$name is the picture of two examples"
    curl -sf -o "$work/pictures/$name" "$base$target" || fail "$target is no picture"
done <"$work/examples"

total=$(cat "$work/pictures"/* | wc -c)
[ "$total" -le "$MAX_BYTES" ] || fail "the pictures have $total bytes, more than the $MAX_BYTES we allow ourselves"
rm -rf "$PICTURES"
mv "$work/pictures" "$PICTURES"
printf '%s\n' "$PICTURES: $(wc -l <"$work/examples") pictures, $total bytes"
