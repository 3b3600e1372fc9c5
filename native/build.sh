#!/usr/bin/env bash
# Builds the static C libraries the server links, into a cache folder named after this recipe.
set -euo pipefail

RECIPE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=${S3IMAGESERVER_NATIVE_ROOT:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/s3imageserver}
SUITES="bookworm trixie"
# Compiled into the libraries as their prefix. It must not exist: nothing is to be loaded from there.
FIXED_PREFIX=/nonexistent

usage() {
    cat <<'USAGE'
usage: native/build.sh            build what is missing (quick when nothing is)
       native/build.sh --where    print the folder of the finished build, building nothing
       native/build.sh --packages print the Debian packages the build needs

environment:
  NATIVE_SOURCES             folder with the source tarballs of sources.tsv: nothing is fetched then
  S3IMAGESERVER_NATIVE_ROOT  where builds are kept (default: ~/.cache/s3imageserver)
USAGE
}

fail() {
    printf '%s\n' "native/build.sh: $*" >&2
    exit 1
}

# table FILE: its lines without comments.
table() { sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$RECIPE/$1"; }

packages() { table packages.txt; }

# What the result depends on: the recipe, the machine, and Debian's versions of the archives that are copied
# (a security update of a codec must lead to a new build).
recipe_hash() {
    {
        cd "$RECIPE"
        sha256sum build.sh sources.tsv archives.tsv quantizr.h steps/*.sh
        uname -m
        # shellcheck disable=SC2016 # dpkg-query fills these in
        table archives.tsv | cut -f 2 | xargs dpkg-query -W -f '${Package} ${Version}\n' 2>/dev/null || true
    } | sha256sum | cut -c 1-16
}

missing_packages() {
    local package status
    for package in $(packages); do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
        [ "$status" = installed ] || printf '%s\n' "$package"
    done
}

install_packages() {
    local missing root=()
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            fail "these packages are missing, and there is neither root nor sudo to install them: ${missing//$'\n'/ }"
        root=(sudo)
    fi
    printf 'installing %s\n' "${missing//$'\n'/ }"
    # shellcheck disable=SC2086 # one word a package
    if ! {
        "${root[@]}" apt-get update &&
            "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
    } >"$ROOT/packages.log" 2>&1 </dev/null; then
        tail -n 30 "$ROOT/packages.log" >&2
        fail "apt could not install the packages; the whole log is $ROOT/packages.log"
    fi
}

# os_release KEY: a value of /etc/os-release.
os_release() { sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}$/\1/p" /etc/os-release; }

is_debian() {
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null && [ "$(os_release ID)" = debian ]
}

# Without Debian's packages the tools and the archives must be there already.
by_hand() {
    cat >&2 <<HELP
This is not Debian: native/build.sh can fetch nothing here by itself. To build by hand:
  1. Install a C and C++ compiler, make, pkg-config, meson (1.0 or newer), ninja, cmake and xz, and the headers
     and static archives (.a, position independent) of
       $(table archives.tsv | cut -f 1 | grep -v -e libstdc++ -e glibc | paste -sd ' ')
     The Debian packages are: $(packages | paste -sd ' ')
  2. Put these files (Debian's source tarballs) into one folder:
$(table sources.tsv | awk -F '\t' '{ printf "       %s  (source package %s, Debian %s)\n", $5, $3, $4 }')
  3. Run: NATIVE_SOURCES=that-folder make native
HELP
    exit 1
}

# The machine's own package sources, rewritten to the source packages of the suites we want. Only Debian's main
# archive counts: the entry whose suite is this release itself (not -security, not a third party's).
rewrite_sources() {
    local codename=$1 file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        awk -v codename="$codename" -v suites="$SUITES" '
            $1 == "deb" || $1 == "deb-src" {
                line = $0
                sub(/#.*/, "", line)
                sub(/^[ \t]*deb(-src)?[ \t]+/, "", line)
                options = ""
                if (match(line, /^\[[^\]]*\][ \t]*/)) {
                    options = substr(line, 1, RLENGTH)
                    line = substr(line, RLENGTH + 1)
                }
                split(line, word, /[ \t]+/)
                if (word[2] ~ ("^(" codename "|stable|oldstable|oldoldstable|testing|unstable|sid)$")) {
                    count = split(suites, suite, " ")
                    for (i = 1; i <= count; i++) print "deb-src " options word[1] " " suite[i] " main"
                }
            }' "$file"
    done | sort -u >"$APT/sources.list.d/own.list"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v codename="$codename" -v suites="$SUITES" '
            function flush(    name, wanted) {
                wanted = (" " value["suites"] " ") ~ ("[ \t\n](" codename "|stable|oldstable|oldoldstable|testing|unstable|sid)[ \t\n]")
                if (wanted && tolower(value["enabled"]) !~ /no|false/) {
                    print "Types: deb-src\nSuites: " suites "\nComponents: main"
                    for (name in value)
                        if (name !~ /^(types|suites|components|enabled|architectures)$/) print name ":" value[name]
                    print ""
                }
                split("", value)
            }
            /^#/ { next }
            /^[ \t]*$/ { flush(); next }
            /^[ \t]/ { value[field] = value[field] "\n" $0; next }
            {
                field = tolower(substr($0, 1, index($0, ":") - 1))
                value[field] = substr($0, index($0, ":") + 1)
            }
            END { flush() }' "$file"
    done >"$APT/sources.list.d/own.sources"
    [ -s "$APT/sources.list.d/own.list" ] || [ -s "$APT/sources.list.d/own.sources" ]
}

# A private apt: own sources, lists and cache, and none of the system's hooks; the rest (a proxy) is the system's.
prepare_apt() {
    APT=$WORK/apt
    rm -rf "$APT"
    mkdir -p "$APT/sources.list.d" "$APT/lists/partial" "$APT/cache/archives/partial"
    rewrite_sources "$(os_release VERSION_CODENAME)" || return 1
    {
        apt-config dump | grep -v Invoke
        cat <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$APT/sources.list.d";
Dir::State::lists "$APT/lists";
Dir::Cache "$APT/cache";
APT::Sandbox::User "";
CONF
    } >"$APT/apt.conf"
    APT_CONFIG=$APT/apt.conf apt-get -q update
}

matches() { [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$2" ]; }

# fetch_sources: every tarball of sources.tsv into $ROOT/sources, or the log's end and exit 1.
fetch_sources() {
    local name version package suite file sha folder=${NATIVE_SOURCES:-}
    mkdir -p "$ROOT/sources"
    while IFS=$'\t' read -r name version package suite file sha _; do
        if [ -n "$folder" ]; then
            [ -f "$folder/$file" ] || fail "NATIVE_SOURCES has no $file (source package $package of Debian $suite)"
            matches "$folder/$file" "$sha" || fail "$folder/$file is not the $name $version we pin: its SHA-256 is not $sha"
            cp "$folder/$file" "$ROOT/sources/$file.new"
            mv "$ROOT/sources/$file.new" "$ROOT/sources/$file"
            continue
        fi
        if [ -f "$ROOT/sources/$file" ] && matches "$ROOT/sources/$file" "$sha"; then continue; fi
        if [ -z "${APT:-}" ]; then
            printf 'fetching the sources\n'
            prepare_apt >>"$LOG" 2>&1 || log_end "this machine's apt sources give no Debian source packages (NATIVE_SOURCES is the other way: --help)"
        fi
        mkdir -p "$APT/download"
        (cd "$APT/download" && APT_CONFIG=$APT/apt.conf apt-get -q source --download-only --tar-only "$package/$suite") \
            >>"$LOG" 2>&1 || log_end "apt could not fetch the source package $package of Debian $suite"
        [ -f "$APT/download/$file" ] ||
            fail "Debian $suite has no $file any more: give a folder that has it as NATIVE_SOURCES (native/build.sh --help)"
        matches "$APT/download/$file" "$sha" ||
            fail "the $file that apt fetched is not the $name $version we pin: its SHA-256 is not $sha"
        mv "$APT/download/$file" "$ROOT/sources/$file"
    done < <(table sources.tsv)
}

# log_end SENTENCE: why it failed, with the end of the log.
log_end() {
    printf '\n' >&2
    tail -n 30 "$LOG" >&2
    fail "$1; the whole log is $LOG"
}

# Whoever passes the binary on must pass these on with it. The folders left out are not compiled in.
keep_licences() {
    local text
    mkdir -p "$WORK/licences"
    (
        cd "$WORK/source/$1"
        find -L . -maxdepth 4 \( -name plugins -o -name utils -o -name examples -o -name docs \) -prune -o \
            -type f \( -iname 'copying*' -o -iname 'licen[sc]e*' \) -print
    ) |
        while IFS= read -r text; do
            text=${text#./}
            cp -L "$WORK/source/$1/$text" "$WORK/licences/$1-${text//\//-}"
        done
}

build_libraries() {
    local name version file number=0 count started
    count=$(table sources.tsv | wc -l)
    while IFS=$'\t' read -r name version _ _ file _; do
        number=$((number + 1))
        [ ! -e "$WORK/done/$name" ] || continue
        printf '[%d/%d] %s %s … ' "$number" "$count" "$name" "$version"
        started=$SECONDS
        rm -rf "${WORK:?}/source/$name"
        mkdir -p "$WORK/source/$name"
        (
            cd "$WORK/source/$name"
            tar xf "$ROOT/sources/$file" --strip-components=1
            bash -euo pipefail -c '. "$1"; . "$2"' step "$RECIPE/steps/helpers.sh" "$RECIPE/steps/$name.sh"
        ) >>"$LOG" 2>&1 </dev/null || log_end "$name $version could not be built"
        keep_licences "$name"
        rm -rf "${WORK:?}/source/$name"
        touch "$WORK/done/$name"
        printf '%d s\n' $((SECONDS - started))
    done < <(table sources.tsv)
}

# installed_version PACKAGE MODULE: the machine's version of a library that is copied, not built.
installed_version() {
    local version
    case $2 in
    gcc) c++ -dumpfullversion && return ;;
    glibc) version=$(getconf GNU_LIBC_VERSION) && version=${version#glibc } ;;
    *) version=$(pkg-config --modversion "$2") ;;
    esac
    # Debian's own version says which security fixes are in.
    dpkg-query -W -f '${Version}\n' "$1" 2>/dev/null | sed 's/^[0-9]*://' | grep . ||
        printf '%s\n' "${version:-unknown}"
}

# Files that change when Debian's version of a copied archive does: cargo asks --where again then.
watch_list() {
    local package
    for package in $(table archives.tsv | cut -f 2); do
        find /var/lib/dpkg/info -name "$package.list" -o -name "$package:*.list" 2>/dev/null || true
    done
}

# Only archives, and all of them, in one folder: the linker given that folder can pick no shared library.
assemble() {
    local name package module archives archive path out=$WORK/out
    rm -rf "$out"
    mkdir -p "$out/lib"
    cp -R "$WORK/licences" "$out/"
    cp "$STAGE$FIXED_PREFIX"/lib/*.a "$out/lib/"
    table sources.tsv | awk -F '\t' '{ print $1, $2 }' | tac >"$out/versions.txt"
    while IFS=$'\t' read -r name package module archives _; do
        printf '%s %s\n' "$name" "$(installed_version "$package" "$module")" >>"$out/versions.txt"
        if [ -f "/usr/share/doc/$package/copyright" ]; then
            cp -L "/usr/share/doc/$package/copyright" "$out/licences/$name-copyright"
        fi
        [ "$archives" != - ] || continue
        for archive in $archives; do
            path=$(cc -print-file-name="${archive%\?}")
            if [ -f "$path" ]; then
                cp -L "$path" "$out/lib/"
            elif [ "$archive" = "${archive%\?}" ]; then
                fail "no $archive on this machine; Debian's package for it is $package"
            fi
        done
    done < <(table archives.tsv)
    watch_list >"$out/watch.txt"
    touch "$out/complete"
    rm -rf "$TARGET"
    mv "$out" "$TARGET"
}

case ${1:-} in
'') ;;
--where) exec printf '%s\n' "$ROOT/native-$(recipe_hash)" ;;
--packages) packages && exit ;;
--help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac

TARGET=$ROOT/native-$(recipe_hash)
[ ! -e "$TARGET/complete" ] || exit 0
mkdir -p "$ROOT"
if is_debian; then install_packages; elif [ -z "${NATIVE_SOURCES:-}" ]; then by_hand; fi
# Once more: the versions of packages installed just now are part of it.
TARGET=$ROOT/native-$(recipe_hash)

# Two builds at once: the second waits, and then finds everything done.
exec 9>"$TARGET.lock"
flock 9
[ ! -e "$TARGET/complete" ] || exit 0

WORK=$TARGET.work
LOG=$TARGET.log
STAGE=$WORK/stage
JOBS=$(nproc)
mkdir -p "$WORK/done" "$STAGE$FIXED_PREFIX"
: >"$LOG"
export RECIPE FIXED_PREFIX STAGE JOBS
# The caller's compiler and flags are not part of the recipe.
unset CC CXX AR CPPFLAGS LDFLAGS DESTDIR MAKEFLAGS
# Strangers' pixels go through this code: Debian's hardening. The prefix map keeps this machine's paths out of it.
export CFLAGS="-O3 -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 \
-ffunction-sections -fdata-sections -ffile-prefix-map=$WORK/source="
export CXXFLAGS=$CFLAGS
export PKG_CONFIG_PATH=$STAGE$FIXED_PREFIX/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
# libvips' build runs glib's tools (glib-mkenums).
export PATH=$STAGE$FIXED_PREFIX/bin:$PATH
export LC_ALL=C.UTF-8

printf 'building the native libraries into %s (log: %s)\n' "$TARGET" "$LOG"
fetch_sources
build_libraries
assemble
rm -rf "$WORK"
printf 'native libraries ready: %s\n' "$TARGET"
