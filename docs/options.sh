#!/usr/bin/env bash
# Writes docs/images: the responses of the built server to the examples in docs/options.md.
#
# usage: docs/options.sh [BINARY]
set -euo pipefail
cd "$(dirname "$0")/.."

BINARY=${1:-./s3imageserver}
PAGE=docs/options.md
IMAGES=docs/images
MAX_BYTES=300000

fail() {
    printf '%s\n' "docs/options.sh: $*" >&2
    exit 1
}

[ -x "$BINARY" ] || fail "$BINARY does not exist: run make first"
command -v curl >/dev/null || fail "curl is missing"

work=$(mktemp -d)
server=
stop() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

# The handler of config.example.json that the examples use, without a cache and on a free port. Its watermarks are those
# of the page.
watermarks=$(sed -n '/^"watermarks": {$/,/^```$/{/^```/d;p}' "$PAGE")
cat >"$work/config.json" <<JSON
{"handlers": [{"name": "samples", "directory": "examples/images", $watermarks}], "address": "127.0.0.1", "http_port": 0}
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
sed -n 's/^| `\(\/samples\/[^`]*\)` | !\[\](images\/\([a-z0-9.-]*\)) |$/\1 \2/p' "$PAGE" >"$work/examples"
[ -s "$work/examples" ] || fail "$PAGE has no examples"
mkdir "$work/images"
while read -r target name; do
    case $target in
    *[\?\&]f=*) ;;
    *) target="$target&f=webp&q=60" ;;
    esac
    [ ! -e "$work/images/$name" ] || fail "$name belongs to two examples"
    curl -sf -o "$work/images/$name" "$base$target" || fail "$target: the response is not an image"
done <"$work/examples"

total=$(cat "$work/images"/* | wc -c)
[ "$total" -le "$MAX_BYTES" ] || fail "the images have $total bytes, more than MAX_BYTES ($MAX_BYTES)"
# The screenshots of docs/page.md stay.
find "$IMAGES" -type f ! -name 'screenshot-*' -delete
mv "$work/images"/* "$IMAGES"
printf '%s\n' "$IMAGES: $(wc -l <"$work/examples") images, $total bytes"
