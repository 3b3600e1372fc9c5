#!/usr/bin/env bash
# Builds the static C libraries the server links, into a cache directory named after this recipe.
set -euo pipefail

RECIPE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=${S3IMAGESERVER_NATIVE_ROOT:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/s3imageserver}
ROOT=$(realpath -m "$ROOT")
# Compiled into the libraries as their prefix. It must not exist: nothing is to be loaded from there.
FIXED_PREFIX=/nonexistent

usage() {
    cat <<'USAGE'
usage: native/build.sh                  build what is missing (quick when nothing is)
       native/build.sh --where          print the directory of the finished build, building nothing
       native/build.sh --packages       print the Debian packages the build needs
       native/build.sh --fetch          fetch the sources and print where they are: a NATIVE_SOURCES for other machines
       native/build.sh --check-sources  ask every place of every source, print a table; exit status 1 when a source
                                        has no good place

environment:
  NATIVE_SOURCES             directory with an archive of each source (places.tsv lists them): nothing is fetched then
  S3IMAGESERVER_NATIVE_ROOT  where builds are kept (default: ~/.cache/s3imageserver)
  TARGET                     x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu (default: this machine)
USAGE
}

fail() {
    printf '%s\n' "native/build.sh: $*" >&2
    exit 1
}

# log_end SENTENCE: why it failed, with the end of the log.
log_end() {
    printf '\n' >&2
    tail -n 30 "$LOG" >&2
    fail "$1; the whole log is $LOG"
}

# table FILE: its lines without comments.
table() { sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$RECIPE/$1"; }

# shellcheck source=native/fetch.sh
. "$RECIPE/fetch.sh"
# shellcheck source=native/debian.sh
. "$RECIPE/debian.sh"
# shellcheck source=native/compile.sh
. "$RECIPE/compile.sh"

# Sets MACHINE, the processor the libraries are for, and IS_CROSS.
choose_target() {
    MACHINE=$(uname -m)
    IS_CROSS=
    [ -n "${TARGET:-}" ] || return 0
    case $TARGET in
    x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
    *) fail "TARGET=$TARGET: only x86_64-unknown-linux-gnu and aarch64-unknown-linux-gnu are known" ;;
    esac
    [ "${TARGET%%-*}" = "$MACHINE" ] || IS_CROSS=yes
    MACHINE=${TARGET%%-*}
}

# What the result depends on: what is compiled and how, the target, and Debian's versions of the archives that are copied
# (a security update of a library must lead to a new build).
recipe_hash() {
    {
        cd "$RECIPE"
        sha256sum compile.sh sources.tsv archives.tsv steps/*.sh patches/*.patch
        printf '%s\n' "$MACHINE"
        debian_versions
    } | sha256sum | cut -c 1-16
}

# What is missing where this recipe can't install packages itself.
check_by_hand() {
    local tool name package archives archive path missing=
    for tool in "$CC" "$CXX" make patch python3 pkg-config meson ninja cmake xz; do
        command -v "$tool" >/dev/null || missing+=" $tool"
    done
    [ "$MACHINE" != x86_64 ] || command -v nasm >/dev/null || missing+=" nasm"
    while IFS=$'\t' read -r name package _ archives _; do
        [ "$archives" != - ] || continue
        for archive in $archives; do
            path=$(archive_path "${archive%\?}")
            [ -f "$path" ] || [ "$archive" != "${archive%\?}" ] || missing+=" $archive"
        done
    done < <(table archives.tsv)
    [ -n "$missing" ] || return 0
    cat >&2 <<HELP
native/build.sh installs packages on Debian 12, Debian 13 and their derivatives only. To build here, install
  * gcc, g++, make, patch, python3, pkg-config, meson (1.0 or newer), ninja, cmake, xz and, on x86-64, nasm,
  * the headers and the static archives (.a, position independent) of
      $(table archives.tsv | cut -f 1 | grep -v -e libstdc++ -e glibc | paste -sd ' ')
and run make again. The sources of the other libraries are fetched. The Debian packages are:
  $(packages | paste -sd ' ')
Missing now:$missing
HELP
    exit 1
}

[[ $ROOT != *[[:space:]]* ]] || fail "compilers take no flags with spaces: set S3IMAGESERVER_NATIVE_ROOT to another place than $ROOT"
choose_target
choose_compiler
case ${1:-} in
'') ;;
--where) exec printf '%s\n' "$ROOT/native-$(recipe_hash)" ;;
--packages) packages && exit ;;
--check-sources)
    check_sources
    exit
    ;;
--fetch)
    mkdir -p "$ROOT"
    LOG=$ROOT/fetch.log
    : >"$LOG"
    fetch_sources
    exit
    ;;
--help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac

mkdir -p "$ROOT"
# Two at once would be in each other's way, and in that of apt.
exec 8>"$ROOT/lock"
flock 8
if is_debian; then install_packages; fi
# The versions of packages installed just now are part of it.
RESULT=$ROOT/native-$(recipe_hash)
[ ! -e "$RESULT/complete" ] || exit 0
is_debian || check_by_hand

LOG=$RESULT.log
: >"$LOG"
printf 'building the native libraries into %s (log: %s)\n' "$RESULT" "$LOG"
compile
printf 'native libraries ready: %s\n' "$RESULT"
