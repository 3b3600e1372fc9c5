# Functions shared by the bench scripts, which source this file from the repository root. It creates the temporary
# directory $work, and on exit removes it and stops every process in $pids.
# shellcheck shell=bash

# Debian installs nginx in /usr/sbin, which is not in an ordinary user's PATH.
PATH=$PATH:/usr/sbin
ROUNDS=${ROUNDS:-5}
SERVER=${SERVER:-./s3imageserver}
RESULTS=${RESULTS:-bench/results}
work=$(mktemp -d)
# nginx workers run as another user when root starts nginx.
chmod 755 "$work"
pids=()

fail() {
    printf '%s\n' "bench: $*" >&2
    exit 1
}

# end PID…: sends SIGTERM, then SIGKILL after five seconds.
end() {
    local pid
    for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
    for _ in $(seq 100); do
        kill -0 "$@" 2>/dev/null || break
        sleep 0.05
    done
    for pid in "$@"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait "$@" 2>/dev/null || true
    forget "$@"
}
# forget PID…: removes ended processes from $pids, because their ids can be reused.
forget() {
    local pid kept=()
    for pid in "${pids[@]}"; do
        [[ " $* " == *" $pid "* ]] || kept+=("$pid")
    done
    pids=("${kept[@]}")
}
stop() {
    trap - EXIT
    [ ${#pids[@]} -eq 0 ] || end "${pids[@]}"
    rm -rf "$work"
}
trap stop EXIT

# need TOOL:PACKAGE…: installs the Debian packages of the tools that are missing.
need() {
    local tool missing=() root=()
    for tool in "$@"; do command -v "${tool%:*}" >/dev/null || missing+=("${tool#*:}"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "these are missing, and there is no apt-get to install them: ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "these are missing, and there is neither root nor sudo: ${missing[*]}"
        root=(sudo)
    fi
    printf 'installing %s\n' "${missing[*]}"
    if ! {
        "${root[@]}" apt-get update &&
            "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
    } >"$work/apt.log" 2>&1 </dev/null; then
        tail -n 30 "$work/apt.log" >&2
        fail "apt could not install the packages"
    fi
    # Debian starts nginx on port 80 after installing it.
    if [[ " ${missing[*]} " == *" nginx-light "* && -d /run/systemd/system ]]; then
        "${root[@]}" systemctl disable --now nginx >/dev/null 2>&1 || true
    fi
}

# build_program NAME: builds a `[[bench]]` program of Cargo.toml and prints its path.
build_program() {
    local path
    path=$(cargo bench --no-run --locked --bench "$1" --message-format=json-render-diagnostics |
        sed -n 's/.*"kind":\["bench"\].*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    [ -n "$path" ] || fail "cargo built no $1"
    echo "$path"
}

# wait_for COMMAND…: repeats the command until it succeeds, for at most 30 seconds.
wait_for() {
    for _ in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.05
    done
    tail -n 5 "$work"/*.log >&2
    fail "timed out waiting for: $*"
}

# start_edge NAME http|https: starts the server with $work/NAME.json, logging to $work/NAME.log; sets $started.
start_edge() {
    "$SERVER" -c "$work/$1.json" 2>"$work/$1.log" &
    started=$!
    pids+=("$started")
    wait_for grep -q " listening on $2:" "$work/$1.log"
}

# start_nginx NAME URL: starts nginx with $work/NAME.conf and waits until the URL answers; sets $started.
start_nginx() {
    nginx -e "$work/$1.log" -c "$work/$1.conf" &
    started=$!
    pids+=("$started")
    wait_for curl -sfk -o /dev/null "$2"
}

# nginx_head NAME: the common part of every nginx configuration.
nginx_head() {
    cat <<NGINX
worker_processes 2; daemon off; pid $work/$1.pid; error_log $work/$1.log;
events { worker_connections 4096; }
http { sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;
  client_body_temp_path $work/$1.b; proxy_temp_path $work/$1.p; fastcgi_temp_path $work/$1.f;
  uwsgi_temp_path $work/$1.u; scgi_temp_path $work/$1.s;
  open_file_cache max=1000; open_file_cache_valid 60s; access_log $work/$1.access; root $work/www; etag on;
NGINX
}

etag() { curl -sfkI "$1" | tr -d '\r' | awk 'tolower($1) == "etag:" {print $2}'; }

# The process id and those of its children.
family() {
    echo "$1"
    pgrep -P "$1" || true
}

# CPU ticks (10 ms) of a process and its children.
ticks() {
    local total=0 pid
    for pid in $(family "$1"); do
        total=$((total + $(awk '{print $14 + $15}' "/proc/$pid/stat")))
    done
    echo "$total"
}

# Sum of the resident MB of processes.
rss() {
    local pid
    for pid in "$@"; do cat "/proc/$pid/status"; done | awk '/VmRSS/ {kb += $2} END {printf "%.1f", kb / 1024}'
}

median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
# column FILE NUMBER: the median of a column of $work/FILE.
column() { awk -v c="$2" '{print $c}' "$work/$1" | median; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }

# load PID SECONDS URL [HEADER]: CPU µs per request and requests/s over 64 kept-alive connections.
load() {
    local before requests report
    before=$(ticks "$1")
    report=$(wrk -t1 -c64 -d"$2" ${4:+-H "$4"} "$3")
    if grep -e Non-2xx -e 'Socket errors' <<<"$report" >&2; then fail "not every request of $3 was answered"; fi
    requests=$(awk '/requests in/ {print $1}' <<<"$report")
    awk -v t=$(($(ticks "$1") - before)) -v n="$requests" 'BEGIN {printf "%.2f ", t * 10000 / n}'
    awk '/Requests\/sec/ {printf "%.0f\n", $2}' <<<"$report"
}

# served QUERY COUNT: CPU ms per request of the server $server at $base.
served() {
    local before i
    before=$(ticks "$server")
    for ((i = 0; i < $2; i++)); do printf 'url=%s/%s\noutput=/dev/null\n' "$base" "$1"; done >"$work/urls"
    curl -sf -K "$work/urls"
    awk -v t=$(($(ticks "$server") - before)) -v n="$2" 'BEGIN {printf "%.3f\n", t * 10 / n}'
}

# vipsthumbnail_ms COUNT ARGUMENT…: CPU ms per run of Debian's vipsthumbnail with one thread.
vipsthumbnail_ms() {
    local count=$1 i
    shift
    TIMEFORMAT='%U %S'
    { time for ((i = 0; i < count; i++)); do VIPS_CONCURRENCY=1 vipsthumbnail "$@" 2>/dev/null; done; } 2>&1 |
        awk -v n="$count" '{printf "%.3f\n", ($1 + $2) * 1000 / n}'
}

# thumbnail COUNT TINY ARGUMENT…: the same without the start of the program and its libraries, which a tiny original of
# the format shows.
thumbnail() {
    awk -v all="$(vipsthumbnail_ms "$1" "${@:3}")" \
        -v start="$(vipsthumbnail_ms "$1" "$2" -s 1x1 -o "$work/tiny.jpg")" 'BEGIN {printf "%.3f\n", all - start}'
}

# verdict MEASURED MOST
verdict() { awk -v a="$1" -v most="$2" 'BEGIN {print (a + 0 <= most + 0) ? "yes" : "**no**"}'; }
