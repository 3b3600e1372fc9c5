# shellcheck shell=bash disable=SC2016,SC2034
# Sourced by build.sh: fetches the archives that places.tsv lists. Nothing of an archive is executed here, and an
# archive whose SHA-256 differs from the listed one is thrown away.

# places NAME: the places of a library, in the order in which they are tried.
places() { table places.tsv | awk -F '\t' -v name="$1" '$1 == name'; }

# is_pinned FILE SHA256
is_pinned() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$2" ]; }

# archive_name KIND PLACE: the file name of an archive.
archive_name() {
    case $1 in
    crate) printf '%s.crate\n' "${2/\//-}" ;;
    *) printf '%s\n' "${2##*/}" ;;
    esac
}

# fetch_archive KIND PLACE SHA256 FILE: fetches one archive into FILE with the client of its kind. What the client
# prints goes to standard output; the exit status is the client's. The caller checks the SHA-256.
fetch_archive() {
    local kind=$1 place=$2 sha=$3 file=$4 directory
    rm -f "$file"
    directory=$(mktemp -d) || return
    case $kind in
    crate) fetch_crate "$place" "$file" "$directory" ;;
    pool) fetch_pool "$place" "$sha" "$file" ;;
    sdist) fetch_sdist "$place" "$file" ;;
    url) fetch_url "$place" "$sha" "$file" ;;
    *) printf 'places.tsv: unknown kind %s\n' "$kind" && false ;;
    esac 2>&1 </dev/null
    local status=$?
    rm -rf "$directory"
    [ "$status" -eq 0 ] && [ -s "$file" ]
}

# cargo keeps the archive of a crate whose details it has shown. An empty directory: no manifest is read.
fetch_crate() {
    local crate
    (cd "$3" && cargo info --quiet "${1/\//@}") || return
    for crate in "${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*/"${1/\//-}.crate"; do
        [ ! -f "$crate" ] || { cp "$crate" "$2" && return; }
    done
    printf 'cargo left no %s.crate in its cache\n' "${1/\//-}"
    return 1
}

# The mirrors are those of the machine's own apt configuration.
fetch_pool() {
    local mirror
    command -v apt-get >/dev/null || { printf 'this machine has no apt\n' && return 1; }
    while IFS= read -r mirror; do
        apt_download "${mirror%/}/pool/$1" "$2" "$3" && return
    done < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '!seen[$0]++')
    return 1
}

apt_download() {
    "${APT_HELPER:-/usr/lib/apt/apt-helper}" -o APT::Sandbox::User=root download-file "$1" "$3" "SHA256:$2" && return
    rm -f "$3"
    return 1
}

# pip itself would run the build script of a source archive, so only its index and its connection are used.
fetch_sdist() {
    local python
    python3 -c 'import pip' 2>/dev/null || [ -n "${PYTHON:-}" ] || install_pip
    for python in ${PYTHON:-python3 /usr/bin/python3}; do
        "$python" -c 'import pip' 2>/dev/null || continue
        "$python" "$RECIPE/fetch-sdist.py" "${1%%/*}" "${1##*/}" "$2" && return
    done
    printf 'this machine has no pip, or its index has no %s\n' "$1"
    return 1
}

fetch_url() {
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --retry 2 --connect-timeout 20 --max-time 600 -o "$3" "$1"
    elif command -v wget >/dev/null; then
        wget --quiet --tries 2 --timeout 20 -O "$3" "$1"
    else
        apt_download "$1" "$2" "$3"
    fi
}

# fetch_source NAME VERSION: the archive of a library into $ROOT/sources. Sets SOURCE_ARCHIVE and SOURCE_DIRECTORY.
fetch_source() {
    local name=$1 version=$2 kind place sha directory file tried=""
    mkdir -p "$ROOT/sources"
    while IFS=$'\t' read -r _ kind place sha directory; do
        file=$ROOT/sources/$(archive_name "$kind" "$place")
        if is_pinned "$file" "$sha"; then
            SOURCE_ARCHIVE=$file SOURCE_DIRECTORY=$directory
            return
        fi
        tried+="
  $kind $place"
    done < <(places "$name")
    if [ -n "${NATIVE_SOURCES:-}" ]; then
        take_given_source "$name" "$version"
        return
    fi
    while IFS=$'\t' read -r _ kind place sha directory; do
        file=$ROOT/sources/$(archive_name "$kind" "$place")
        printf 'fetching %s %s: %s %s\n' "$name" "$version" "$kind" "$place" >>"$LOG"
        if fetch_archive "$kind" "$place" "$sha" "$file.new" >>"$LOG"; then
            if is_pinned "$file.new" "$sha"; then
                mv "$file.new" "$file"
                SOURCE_ARCHIVE=$file SOURCE_DIRECTORY=$directory
                return
            fi
            printf 'the SHA-256 of %s %s is not %s\n' "$kind" "$place" "$sha" | tee -a "$LOG" >&2
        fi
        rm -f "$file.new"
    done < <(places "$name")
    log_end "$name $version could not be fetched from any of its places:$tried
NATIVE_SOURCES is the other way (native/build.sh --help)"
}

# Every source into $ROOT/sources; prints where each one is.
fetch_sources() {
    local name version
    while IFS=$'\t' read -r name version _; do
        fetch_source "$name" "$version"
        printf '%s %s %s\n' "$name" "$version" "$SOURCE_ARCHIVE"
    done < <(table sources.tsv)
}

# An archive of any of the places, from the directory NATIVE_SOURCES.
take_given_source() {
    local name=$1 version=$2 kind place sha directory file given wrong="" wanted=""
    while IFS=$'\t' read -r _ kind place sha directory; do
        file=$(archive_name "$kind" "$place")
        given=$NATIVE_SOURCES/$file
        wanted+=" $file"
        [ -f "$given" ] || continue
        if ! is_pinned "$given" "$sha"; then
            wrong=" (the SHA-256 of $given is not $sha)"
            continue
        fi
        cp "$given" "$ROOT/sources/$file.new"
        mv "$ROOT/sources/$file.new" "$ROOT/sources/$file"
        SOURCE_ARCHIVE=$ROOT/sources/$file SOURCE_DIRECTORY=$directory
        return
    done < <(places "$name")
    fail "NATIVE_SOURCES has no archive of $name $version$wrong; one of these is needed:$wanted"
}

# Asks every place for every source and prints a table; exit status 1 when a source has no good place.
check_sources() {
    local name version kind place sha answer hash good bad=0 file
    file=$(mktemp)
    printf '%-8s %-8s %-6s %-45s %-8s %s\n' library version kind place answers 'SHA-256'
    while IFS=$'\t' read -r name version _; do
        good=0
        while IFS=$'\t' read -r _ kind place sha _; do
            answer=no hash=-
            if fetch_archive "$kind" "$place" "$sha" "$file" >/dev/null; then
                answer=yes hash=wrong
                if is_pinned "$file" "$sha"; then
                    hash=right
                    good=$((good + 1))
                fi
            fi
            printf '%-8s %-8s %-6s %-45s %-8s %s\n' "$name" "$version" "$kind" "$place" "$answer" "$hash"
        done < <(places "$name")
        if [ "$good" -eq 0 ]; then
            printf '%s %s has no good place\n' "$name" "$version" >&2
            bad=1
        fi
    done < <(table sources.tsv)
    rm -f "$file"
    return "$bad"
}
