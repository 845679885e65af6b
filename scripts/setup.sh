# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What scripts/check and scripts/quickstart have in common; they source it and run in the checkout's folder.

# shellcheck disable=SC2034
BUILD_PACKAGES=(build-essential autoconf automake pkg-config libevent-dev libhiredis-dev libssl-dev libsodium-dev libmsgpack-dev
    libjansson-dev libconfuse-dev liblua5.4-dev libcurl4-openssl-dev uthash-dev redis-server)

# say TEXT: one line, with the seconds since the start.
say() {
    printf '[%3ds] %s\n' "$SECONDS" "$*"
}

# fail TEXT: says why this ends, and ends it.
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# step TEXT LOG COMMAND...: says TEXT and runs the command quietly; when it fails, shows the end of its output and ends.
# bash ignores `set -e` in a function that is run here, so those below chain their commands with &&.
step() {
    local text=$1 log=$2
    shift 2
    say "$text"
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 80 "$log" >&2
        fail "failed: $text (the whole output is in $log)"
    fi
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo "$@"
    fi
}

# Debian starts a service as soon as its package is installed. Here every Redis is a private one, so redis-server is
# installed with the start forbidden, and left disabled. A subshell, so that its traps stay its own.
install_missing() (
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        trap 'as_root rm -f "$policy"' EXIT
        trap 'exit 1' INT TERM
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy" || exit 1
    fi
    as_root apt-get -q -o DPkg::Lock::Timeout=120 update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
            install --no-install-recommends "$@" || exit 1
    if [[ " $* " == *" redis-server "* ]]; then
        as_root service redis-server stop
        as_root update-rc.d redis-server disable
    fi
)

# install_packages PACKAGE...: installs those that are missing; when none is, asks nobody and changes nothing.
install_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null ||
        fail "this installs Debian packages; elsewhere, run ./configure, which names every library that is missing"
    for package; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
    done
    if ((${#missing[@]} == 0)); then
        say "packages: all installed"
        return
    fi
    if ((EUID != 0)) && ! command -v sudo >/dev/null; then
        fail "packages are missing; as root, run: apt-get install --no-install-recommends ${missing[*]}"
    fi
    step "packages: installing ${missing[*]}" build/apt.log install_missing "${missing[@]}"
}

# build DIR PREFIX CONFIGURE-ARGUMENT...: configures in DIR unless that was done before, and builds what is to be
# installed below PREFIX. make itself configures again when configure.ac has changed.
build() {
    local folder=$1 prefix=$2 top=$PWD
    shift 2
    mkdir -p "$folder" || return
    if [[ ! -e configure ]]; then
        autoreconf -fi || return
    fi
    if [[ ! -e $folder/Makefile ]]; then
        (cd "$folder" && "$top/configure" -q --prefix="$prefix" "$@") || return
    fi
    make -C "$folder" -s -j"$(nproc)" all
}
