# shellcheck shell=bash
# Sourced by build.sh: Debian's packages, those to build with and those whose static archives are linked.

packages() { table packages.txt; }

# Debian, and derivatives that use its package names: Ubuntu has no libjpeg62-turbo-dev.
is_debian() {
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || return
    [ "$(os_release ID)" = debian ] ||
        { [[ " $(os_release ID_LIKE) " == *" debian "* ]] && apt-cache show libjpeg62-turbo-dev >/dev/null 2>&1; }
}

# os_release KEY: a value of /etc/os-release.
os_release() { sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}$/\1/p" /etc/os-release; }

# Debian's name of the architecture that the libraries are for.
debian_architecture() {
    case $MACHINE in
    x86_64) printf 'amd64\n' ;;
    aarch64) printf 'arm64\n' ;;
    *) printf '%s\n' "$MACHINE" ;;
    esac
}

# Packages as apt takes them: those of packages.txt, and those that came with them and are linked. The latter are of the
# target's architecture.
wanted_packages() {
    local package linked
    linked=$(table archives.tsv | cut -f 2)
    packages | grep -vxF -- "$linked" || true
    for package in $linked; do
        [ -z "$IS_CROSS" ] || [ "$package" = g++ ] || package=$package:$(debian_architecture)
        if packages | grep -qxF -- "${package%:*}" || debian_installed "$package"; then printf '%s\n' "$package"; fi
    done
    [ -z "$IS_CROSS" ] || printf 'crossbuild-essential-%s\n' "$(debian_architecture)"
}

# Packages that are not installed, or not in the newest version that this machine's apt knows.
missing_packages() {
    # shellcheck disable=SC2046 # one word per package
    LC_ALL=C apt-cache policy $(wanted_packages) 2>/dev/null | awk '
        /^[^ ]/ { name = $1; sub(/:$/, "", name); known[name] = 1 }
        $1 == "Installed:" { installed[name] = $2 }
        $1 == "Candidate:" { if (installed[name] == "(none)" || installed[name] != $2) print name }'
    # Before the first apt-get update apt does not know all of them.
    local package
    for package in $(wanted_packages); do
        debian_installed "$package" || printf '%s\n' "$package"
    done
}

debian_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Installs what is missing and upgrades what is outdated: a library that is linked statically gets its security updates
# here and nowhere else.
install_packages() {
    local wanted missing package root=()
    wanted=$(missing_packages | sort -u)
    [ -n "$wanted" ] || return 0
    missing=$(for package in $wanted; do debian_installed "$package" || printf '%s ' "$package"; done)
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            [ -z "$missing" ] ||
                fail "these packages are missing, and there is neither root nor sudo to install them: $missing"
            printf 'not upgraded, for lack of root and sudo: %s\n' "${wanted//$'\n'/ }" >&2
            return 0
        fi
        root=(sudo)
    fi
    printf 'installing %s\n' "${wanted//$'\n'/ }"
    # shellcheck disable=SC2046 # one word per package
    if ! {
        { [ -z "$IS_CROSS" ] || "${root[@]}" dpkg --add-architecture "$(debian_architecture)"; } &&
            update_lists "${root[@]}" &&
            "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y \
                --no-install-recommends $(wanted_packages)
    } >"${ROOT:?}/packages.log" 2>&1 </dev/null; then
        if [ -z "$missing" ]; then
            printf 'not upgraded, apt failed (%s): %s\n' "$ROOT/packages.log" "${wanted//$'\n'/ }" >&2
            return 0
        fi
        tail -n 30 "$ROOT/packages.log" >&2
        fail "apt could not install the packages; the whole log is $ROOT/packages.log"
    fi
}

# update_lists [sudo]: waits for another apt, which a new machine runs by itself. One repository that does not answer
# must not stop the others, so a failure is left to the installation.
update_lists() {
    local output
    for _ in $(seq 30); do
        if output=$("$@" apt-get update 2>&1); then break; fi
        printf '%s\n' "$output"
        [[ $output == *"Could not get lock"* ]] || break
        sleep 10
    done
}

# install_pip: for the sources that only the Python registry has.
install_pip() {
    local root=()
    is_debian || return
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && root=(sudo); } || return
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends python3-pip </dev/null
}

# debian_version PACKAGE: the installed version of a package whose archives are linked; nothing elsewhere.
debian_version() {
    dpkg-query -W -f '${Version}\n' "$1:$(debian_architecture)" 2>/dev/null ||
        dpkg-query -W -f '${Version}\n' "$1" 2>/dev/null || true
}

debian_versions() {
    local package
    for package in $(table archives.tsv | cut -f 2); do
        printf '%s %s\n' "$package" "$(debian_version "$package")"
    done
}

# Files that change when Debian's version of a copied archive does: cargo asks --where again then.
debian_watch_list() {
    local package
    for package in $(table archives.tsv | cut -f 2); do
        find /var/lib/dpkg/info -name "$package.list" -o -name "$package:*.list" 2>/dev/null || true
    done
}
