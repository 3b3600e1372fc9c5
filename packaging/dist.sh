#!/usr/bin/env bash
# Packs a built binary for one architecture: a tarball, a Debian package and a container image, with checksums.
# The same inputs give the same bytes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

NAME=s3imageserver

usage() {
    cat <<'USAGE'
usage: packaging/dist.sh [tar] [deb] [oci]    (default: all three)

environment, relative paths from the top of the repository:
  BINARY             the program (default: ./s3imageserver)
  TARGET, ARCH       its architecture, e.g. aarch64-unknown-linux-gnu or arm64 (default: this machine's)
  LICENCES           directory with the licence texts of the C libraries (default: from native/build.sh)
  CRATE_LICENCES     file with the licence texts of the Rust crates (default: output of packaging/crates.sh)
  SBOM               the bill of materials (default: s3imageserver.cdx.json in OUT, if it exists)
  OUT                output directory (default: dist)
  VERSION            the version (default: from Cargo.toml)
  REVISION           commit for the image's labels (default: from the work tree)
  SOURCE_DATE_EPOCH  time of every file in Unix seconds (default: time of the commit)
  MAINTAINER         maintainer of the Debian package
USAGE
}

fail() {
    printf '%s\n' "packaging/dist.sh: $*" >&2
    exit 1
}

needs() {
    local tool
    for tool; do command -v "$tool" >/dev/null || fail "$tool: not found, needed for $FORMAT"; done
}

# in_work_tree: whether this directory is the top of a checkout, not an unpacked archive within another repository.
in_work_tree() { [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$PWD" ]; }

# architecture: the name in Debian and OCI.
architecture() {
    local written=${ARCH:-${TARGET:-$(uname -m)}}
    case ${written%%-*} in
    x86_64 | amd64) printf 'amd64\n' ;;
    aarch64 | arm64) printf 'arm64\n' ;;
    *) fail "${ARCH:+ARCH}${TARGET:+ TARGET}: $written is none of x86_64, amd64, aarch64 and arm64" ;;
    esac
}

# check_binary: refuses a program of another architecture (e_machine of its ELF header).
check_binary() {
    local head machine
    [ -x "$BINARY" ] || fail "BINARY: there is no program $BINARY; run make first"
    head=$(od -An -v -tx1 -N20 "$BINARY" | tr -d ' \n')
    case $ARCH in
    amd64) machine=3e00 ;;
    arm64) machine=b700 ;;
    esac
    [ "${head:0:8} ${head:36:4}" = "7f454c46 $machine" ] || fail "BINARY: $BINARY is not an ELF program for $ARCH"
}

# put MODE FILE DESTINATION
put() { install -D -m "$1" "$2" "$3"; }

# put_documents DIRECTORY: the licences and the bill of materials, which accompany every binary.
put_documents() {
    local text
    for text in LICENSE LICENSE-APACHE LICENSE-MIT NOTICE; do put 644 "$text" "$1/$text"; done
    for text in "$LICENCES"/*; do put 644 "$text" "$1/licences/${text##*/}"; done
    put 644 "$CRATE_LICENCES" "$1/licences/rust-crates.txt"
    [ -z "$SBOM" ] || put 644 "$SBOM" "$1/$NAME.cdx.json"
}

# put_pages DIRECTORY: the documents, with the files that they link to.
put_pages() {
    local file
    for file in README.md SECURITY.md docs/*.md docs/images/*; do put 644 "$file" "$1/$file"; done
    for file in contrib/*.yaml contrib/*/*; do
        if [ -x "$file" ]; then put 755 "$file" "$1/$file"; else put 644 "$file" "$1/$file"; fi
    done
}

# put_samples DIRECTORY
put_samples() {
    local file
    for file in examples/images/*; do put 644 "$file" "$1/${file##*/}"; done
}

# sealed DIRECTORY: sets the time of every file.
sealed() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

# packed DIRECTORY TAR NAME…: archives these names, owned by root, sorted by name.
packed() {
    local directory=$1 archive=$2
    shift 2
    tar --create --file="$archive" --directory="$directory" --format=ustar --sort=name \
        --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" "$@"
}

pack_tar() {
    local root=$NAME-$VERSION-linux-$ARCH stage=$WORK/tar
    needs tar gzip
    put 755 "$BINARY" "$stage/$root/$NAME"
    put_documents "$stage/$root"
    put_pages "$stage/$root"
    put 644 CHANGELOG.md "$stage/$root/CHANGELOG.md"
    put 644 config.example.json "$stage/$root/config.example.json"
    put 644 error_image.jpg "$stage/$root/error_image.jpg"
    put 644 contrib/systemd/$NAME.service "$stage/$root/$NAME.service"
    put_samples "$stage/$root/examples/images"
    sealed "$stage"
    packed "$stage" "$WORK/$root.tar" "$root"
    gzip -n -9 "$WORK/$root.tar"
    FILES+=("$root.tar.gz")
}

pack_deb() {
    local file=${NAME}_${VERSION}_$ARCH.deb stage=$WORK/deb doc=$WORK/deb/usr/share/doc/$NAME
    # A pre-release sorts before its release.
    local version=${VERSION//-/\~}
    needs dpkg-deb gzip md5sum
    put 755 "$BINARY" "$stage/usr/bin/$NAME"
    put_documents "$doc"
    # Their texts are in /usr/share/common-licenses and in the file copyright.
    rm "$doc/LICENSE" "$doc/LICENSE-APACHE" "$doc/LICENSE-MIT"
    sed -e '/^@MIT@$/{' -e 'r /dev/stdin' -e 'd' -e '}' packaging/debian/copyright \
        < <(sed -e '1,4d' -e 's/^$/./' -e 's/^/ /' LICENSE-MIT) >"$WORK/copyright"
    put 644 "$WORK/copyright" "$doc/copyright"
    put_pages "$doc"
    put 644 config.example.json "$doc/examples/config.example.json"
    gzip -n -9 <CHANGELOG.md >"$WORK/CHANGELOG.md.gz"
    put 644 "$WORK/CHANGELOG.md.gz" "$doc/CHANGELOG.md.gz"
    {
        printf '%s (%s) unstable; urgency=medium\n\n' "$NAME" "$version"
        printf '  * Version %s; CHANGELOG.md.gz lists what has changed.\n\n' "$VERSION"
        printf ' -- %s  %s\n' "$MAINTAINER" "$(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
    } | gzip -n -9 >"$WORK/changelog.gz"
    put 644 "$WORK/changelog.gz" "$doc/changelog.gz"
    put 644 packaging/debian/lintian-overrides "$stage/usr/share/lintian/overrides/$NAME"
    put_samples "$stage/usr/share/$NAME/samples"
    put 644 packaging/debian/config.json "$stage/etc/$NAME/config.json"
    sed 's|/usr/local/bin/|/usr/bin/|' contrib/systemd/$NAME.service >"$WORK/$NAME.service"
    put 644 "$WORK/$NAME.service" "$stage/usr/lib/systemd/system/$NAME.service"

    mkdir "$stage/DEBIAN"
    (cd "$stage" && find etc usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
    # Policy: files in whole KiB, one KiB for every other entry.
    local size
    size=$(find "$stage" -path "$stage/DEBIAN" -prune -o \( -type f -printf '%s\n' -o -printf '1\n' \) |
        awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }')
    cat >"$stage/DEBIAN/control" <<CONTROL
Package: $NAME
Version: $version
Architecture: $ARCH
Maintainer: $MAINTAINER
Installed-Size: $size
Section: web
Priority: optional
Description: server of resized images from S3
 s3imageserver answers GET /h/photo.jpg?w=300&h=200&f=webp: it fetches the
 original from an S3 bucket or a directory, resizes it, caches the result on
 disk and serves it. Images are decoded in a separate, sandboxed process.
 .
 The program is one static binary; it needs no shared library.
CONTROL
    printf '/etc/%s/config.json\n' "$NAME" >"$stage/DEBIAN/conffiles"
    local script
    for script in postinst prerm postrm; do put 755 packaging/debian/$script "$stage/DEBIAN/$script"; done
    sealed "$stage"
    # The number of threads decides where xz begins a new block.
    SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$stage" "$WORK/$file" >/dev/null
    FILES+=("$file")
}

# blob FILE: moves the file to the path of its digest and prints the digest.
blob() {
    local digest
    digest=$(sha256sum <"$1" | cut -d ' ' -f 1)
    mv "$1" "$WORK/layout/blobs/sha256/$digest"
    printf '%s\n' "$digest"
}

blob_size() { stat -c %s "$WORK/layout/blobs/sha256/$1"; }

pack_oci() {
    local file=$NAME-$VERSION-oci-$ARCH.tar stage=$WORK/oci layout=$WORK/layout
    local diff layer config manifest created variant='' revision=''
    needs tar gzip sha256sum
    put 755 "$BINARY" "$stage/$NAME"
    put_documents "$stage/usr/share/doc/$NAME"
    put 644 packaging/oci/config.json "$stage/etc/$NAME/config.json"
    put_samples "$stage/usr/share/$NAME/samples"
    install -d -m 1777 "$stage/tmp"
    install -d -m 755 "$stage/var/cache/$NAME"
    sealed "$stage"
    packed "$stage" "$WORK/layer.tar" --exclude=var/cache/$NAME etc "$NAME" tmp usr var
    # The cache directory belongs to the user of the container.
    tar --append --file="$WORK/layer.tar" --directory="$stage" --format=ustar --owner=65534 --group=65534 \
        --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" var/cache/$NAME
    diff=$(sha256sum <"$WORK/layer.tar" | cut -d ' ' -f 1)
    gzip -n -9 "$WORK/layer.tar"

    mkdir -p "$layout/blobs/sha256"
    created=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
    [ "$ARCH" != arm64 ] || variant='"variant":"v8",'
    [ -z "$REVISION" ] || revision="\"org.opencontainers.image.revision\":\"$REVISION\","
    layer=$(blob "$WORK/layer.tar.gz")
    # Healthcheck is Docker's extension of the image configuration.
    cat >"$WORK/config" <<JSON
{"created":"$created","architecture":"$ARCH",$variant"os":"linux",
"config":{"User":"65534:65534","ExposedPorts":{"8080/tcp":{}},
"Entrypoint":["/$NAME","-c","/etc/$NAME/config.json"],"WorkingDir":"/etc/$NAME","StopSignal":"SIGTERM",
"Healthcheck":{"Test":["CMD","/$NAME","health","-c","/etc/$NAME/config.json"],
"Interval":30000000000,"Timeout":10000000000,"StartPeriod":5000000000,"Retries":3},
"Labels":{"org.opencontainers.image.title":"$NAME",
"org.opencontainers.image.description":"Server of resized images from S3",
"org.opencontainers.image.version":"$VERSION",$revision
"org.opencontainers.image.created":"$created",
"org.opencontainers.image.licenses":"MIT OR Apache-2.0"}},
"rootfs":{"type":"layers","diff_ids":["sha256:$diff"]},
"history":[{"created":"$created","created_by":"packaging/dist.sh"}]}
JSON
    config=$(blob "$WORK/config")
    cat >"$WORK/manifest" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$(blob_size "$config")},
"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$layer","size":$(blob_size "$layer")}]}
JSON
    manifest=$(blob "$WORK/manifest")
    cat >"$layout/index.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",
"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$manifest","size":$(blob_size "$manifest"),
"platform":{"architecture":"$ARCH",$variant"os":"linux"},
"annotations":{"org.opencontainers.image.ref.name":"$NAME:$VERSION"}}]}
JSON
    # Read by `docker load` without the containerd image store.
    cat >"$layout/manifest.json" <<JSON
[{"Config":"blobs/sha256/$config","RepoTags":["$NAME:$VERSION"],"Layers":["blobs/sha256/$layer"]}]
JSON
    printf '{"imageLayoutVersion":"1.0.0"}\n' >"$layout/oci-layout"
    chmod 644 "$layout"/*.json "$layout/oci-layout" "$layout"/blobs/sha256/*
    sealed "$layout"
    packed "$layout" "$WORK/$file" blobs index.json manifest.json oci-layout
    FILES+=("$file")
}

FORMATS=()
for word; do
    case $word in
    tar | deb | oci) FORMATS+=("$word") ;;
    --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
done
[ ${#FORMATS[@]} -gt 0 ] || FORMATS=(tar deb oci)

umask 022
export LC_ALL=C TZ=UTC
unset TAR_OPTIONS GZIP
ARCH=$(architecture)
BINARY=${BINARY:-./$NAME}
OUT=${OUT:-dist}
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)}
MAINTAINER=${MAINTAINER:-the s3imageserver authors <authors@s3imageserver.invalid>}
LICENCES=${LICENCES:-$(native/build.sh --where)/licences}
if [ -z "${SBOM+set}" ] && [ -f "$OUT/$NAME.cdx.json" ]; then SBOM=$OUT/$NAME.cdx.json; fi
SBOM=${SBOM:-}
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    in_work_tree || fail "SOURCE_DATE_EPOCH: required outside of a git work tree"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
fi
if [ -z "${REVISION+set}" ] && in_work_tree; then REVISION=$(git describe --always --abbrev=40 --exclude='*' --dirty); fi
REVISION=${REVISION:-}

[[ $SOURCE_DATE_EPOCH =~ ^[0-9]+$ ]] || fail "SOURCE_DATE_EPOCH: must be whole seconds, not $SOURCE_DATE_EPOCH"
[[ $VERSION =~ ^[0-9][0-9A-Za-z.+-]*$ ]] || fail "VERSION: must be a version as 1.2.3, not $VERSION"
[[ $REVISION =~ ^[0-9A-Za-z.-]*$ ]] || fail "REVISION: must be the id of a commit, not $REVISION"
check_binary
[ -n "$(ls "$LICENCES" 2>/dev/null)" ] || fail "LICENCES: there are no licence texts in $LICENCES; run make native"
[ -z "${CRATE_LICENCES:-}" ] || [ -f "$CRATE_LICENCES" ] || fail "CRATE_LICENCES: there is no file $CRATE_LICENCES"
[ -z "$SBOM" ] || [ -f "$SBOM" ] || fail "SBOM: there is no file $SBOM"

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
if [ -z "${CRATE_LICENCES:-}" ]; then
    CRATE_LICENCES=$WORK/rust-crates.txt
    packaging/crates.sh >"$CRATE_LICENCES"
fi
FILES=()
for FORMAT in "${FORMATS[@]}"; do "pack_$FORMAT"; done

mkdir -p "$OUT"
# Packages of other versions must not stay in SHA256SUMS.
for FORMAT in "${FORMATS[@]}"; do
    case $FORMAT in
    tar) rm -f "$OUT/$NAME"-*-linux-"$ARCH".tar.gz ;;
    deb) rm -f "$OUT/$NAME"_*_"$ARCH".deb ;;
    oci) rm -f "$OUT/$NAME"-*-oci-"$ARCH".tar ;;
    esac
done
for file in "${FILES[@]}"; do
    mv "$WORK/$file" "$OUT/$file"
    printf '%s %s\n' "$(stat -c %s "$OUT/$file")" "$OUT/$file"
done
(
    cd "$OUT"
    find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum
) >"$WORK/SHA256SUMS"
mv "$WORK/SHA256SUMS" "$OUT/SHA256SUMS"
