#!/usr/bin/env bash
# Shows the metrics in use: serves config.example.json under a small load, scrapes it with Prometheus, evaluates the
# alert rules, and stops after a while. Everything listens on 127.0.0.1 and keeps its files in a temporary directory.
#
#   contrib/prometheus/watch.sh BINARY [SECONDS]      (make watch)
#
# PORT is that of Prometheus, 9095 by default: Debian starts one on 9090. Ctrl-C stops it earlier.
set -euo pipefail

binary=$(realpath "${1:?the binary of the server}")
seconds=${2:-120}
port=${PORT:-9095}
url=http://127.0.0.1:$port
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for tool in prometheus promtool curl; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt install prometheus curl" >&2; exit 1; }
done

if curl -s -o /dev/null "$url"; then
    echo "port $port is in use: choose another with PORT" >&2
    exit 1
fi

work=$(mktemp -d)
processes=()
stop() {
    trap - EXIT INT TERM
    for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
    for process in "${processes[@]}"; do wait "$process" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The example with free ports, a cache of its own, and an admin listener with a random secret.
secret=$(head -c 24 /dev/urandom | base64 | tr -d '\n')
(umask 077; printf '%s' "$secret" >"$work/secret")
{
    sed -e '$d' -e 's/"http_port": 8080/"http_port": 0/' -e "s|\"\./cache\"|\"$work/cache\"|" config.example.json
    printf '  "admin": {"address": "127.0.0.1:0", "secret": "%s"},\n}\n' "$secret"
} >"$work/config.json"
"$binary" -c "$work/config.json" 2>"$work/log" &
processes+=($!)

# The URL in the line "listening on URL" of this kind.
listening() {
    local found
    for _ in $(seq 100); do
        found=$(sed -n "s|.*listening on $1\(http://[^ ]*\)\$|\1|p" "$work/log" | head -n 1)
        [ -n "$found" ] && { echo "$found"; return; }
        kill -0 "${processes[0]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/log" >&2
    return 1
}
server=$(listening "")
admin=$(listening "admin ")

sed -e "s|127.0.0.1:8081|${admin#http://}|" -e "s|/etc/prometheus/s3imageserver.secret|$work/secret|" \
    -e 's/interval: 15s/interval: 1s/' contrib/prometheus/prometheus.yml >"$work/prometheus.yml"
cp contrib/prometheus/rules.yml "$work/"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn 2>"$work/prometheus.log" &
processes+=($!)
for _ in $(seq 100); do
    kill -0 "${processes[1]}" 2>/dev/null || { cat "$work/prometheus.log" >&2; exit 1; }
    curl -sf -o /dev/null "$url/-/ready" && break
    sleep 0.1
done
# Prometheus begins to scrape some seconds after that.
for _ in $(seq 300); do
    [ -n "$(promtool query instant "$url" 'up == 1' 2>/dev/null)" ] && break
    sleep 0.1
done

# Twenty requests a second at most, a few of them for new sizes and a few for images that do not exist.
load() {
    local images=(photo.jpg portrait.jpg transparent.png seedling.webp photo.jpg photo.jpg photo.jpg absent.jpg)
    while true; do
        local image=${images[RANDOM % ${#images[@]}]}
        curl -s -o /dev/null "$server/samples/$image?w=$((100 + RANDOM % 20 * 10))" || return 0
        sleep 0.05
    done
}
load &
processes+=($!)

echo "images:     $server/samples/photo.jpg?w=300"
echo "metrics:    curl -H \"Authorization: Bearer $secret\" $admin/-/metrics"
echo "prometheus: $url/graph (stops in $seconds seconds)"
echo "dashboard:  import contrib/prometheus/grafana.json into Grafana"
# In the background, so that a signal ends the wait.
sleep "$seconds" &
processes+=($!)
wait $!

query() {
    printf '\n%s\n' "$1"
    promtool query instant "$url" "$2" | sed 's/^/  /'
}
query "requests, by cache result" 'sum by (cache) (s3imageserver_http_requests_total)'
query "99 % of the hits took less than, in seconds" \
    'histogram_quantile(0.99, sum by (le) (rate(s3imageserver_http_request_duration_seconds_bucket{cache="hit"}[1m])))'
query "mean time of the encoder, in seconds" \
    'sum by (output) (s3imageserver_encode_duration_seconds_sum) / sum by (output) (s3imageserver_encode_duration_seconds_count)'
query "processors in use" 'rate(s3imageserver_process_cpu_seconds_total[1m])'
query "scraped" 'up'
query "alerts" 'ALERTS'
