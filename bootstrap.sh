#!/bin/sh
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# bootstrap.sh [TARGET]... [OPTION OF b2]...
#
# Installs what is missing to build TARGET, as packages of Debian or of a system
# like it, and runs b2 with these arguments.  Touches nothing, and needs no
# privilege, where nothing is missing.
set -eu
cd "$(dirname "$0")"
floor=1.81

wants() { # wants TARGET "$@": whether it, or a part of it, is asked for
    wanted=$1
    shift
    for argument; do
        case $argument in
        "$wanted" | "$wanted"//*) return 0 ;;
        esac
    done
    return 1
}

# --- The compiler that b2 will use.

compiler=g++ compiler_package=g++
for argument; do
    case $argument in
    toolset=gcc-*) compiler=g++-${argument#*-} ;;
    toolset=clang-*) compiler=clang++-${argument#*-} ;;
    toolset=clang) compiler=clang++ ;;
    esac
done
case $compiler in
g++*) compiler_package=$compiler ;;
clang*) compiler_package=clang${compiler#clang++} ;;
esac

# --- What is missing.

missing=''
packages='' # in which @ stands for the version of Boost
lack() { # lack WHAT PACKAGE...
    missing="$missing $1"
    shift
    packages="$packages $*"
}
have() { command -v "$1" > /dev/null 2>&1; }
builds() { # builds SOURCE OPTION...: whether it compiles and links
    source=$1
    shift
    printf '%s\nint main() {}\n' "$source" |
        "$compiler" -x c++ - -o /dev/null "$@" > /dev/null 2>&1
}

# The version of Boost whose headers the compiler finds: 1.81, or nothing.
boost=$(printf '#include <boost/version.hpp>\nBOOST_LIB_VERSION\n' |
        "$compiler" -E -P -x c++ - 2> /dev/null |
        sed -n 's/^"\([0-9]*\)_\([0-9]*\).*"$/\1.\2/p' | tail -n 1) || boost=

at_least() { # at_least VERSION FLOOR: 1.9 < 1.81, as Boost counts
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}
if [ -n "$boost" ] && ! at_least "$boost" $floor; then
    cat >&2 <<EOT
bootstrap.sh: the compiler finds Boost $boost, and this needs $floor or newer.
Debian 12's libboost-dev and libboost-all-dev are 1.74: too old, and in the way
of libboost1.81-dev, which Debian 12 has as well.  Remove them and start again:
    apt-get remove libboost1.74-dev
EOT
    exit 1
fi

have "$compiler" || lack "$compiler" "$compiler_package"
have b2 || lack b2 libboost@-tools-dev
[ -n "$boost" ] || lack Boost libboost@-dev
builds '' -lboost_program_options ||
    lack Boost.Program_options libboost-program-options@-dev
builds '#include <openssl/evp.h>' -lcrypto || lack OpenSSL libssl-dev
builds '#include <png.h>' -lpng || lack libpng libpng-dev
builds '#include <zlib.h>' -lz || lack zlib zlib1g-dev
if wants test "$@" || wants laws "$@" || wants threads "$@"; then
    builds '' -lboost_unit_test_framework ||
        lack Boost.Test libboost-test@-dev
    have cmake || lack CMake cmake
    have make || lack make make
    case "$compiler $*" in
    clang*-sanitizer=*)
        builds '' -fsanitize=address,undefined ||
            lack "clang's sanitizers" "libclang-rt${compiler#clang++}-dev"
        ;;
    esac
fi
if wants bench "$@"; then
    builds '#include <tbb/version.h>' -ltbb || lack TBB libtbb-dev
    builds '#include <zmq.h>' -lzmq || lack ZeroMQ libzmq3-dev
    have python3 || lack Python python3
    have pigz || lack pigz pigz
    have redis-server || lack Redis redis-server
    have mpicxx || lack "Open MPI" libopenmpi-dev
    have mpirun || lack mpirun openmpi-bin
    have wrk || lack wrk wrk
    have nginx || lack nginx nginx-light
    /usr/bin/python3 -c 'import aiohttp' 2> /dev/null ||
        lack aiohttp python3-aiohttp
fi
if wants browser "$@"; then
    have chromium || lack Chromium chromium
    have chromedriver || lack ChromeDriver chromium-driver
    have python3 || lack Python python3
fi
if wants model "$@"; then
    have spin || lack Spin spin
    have gcc || lack gcc gcc
fi

# --- Install it.

# The version of Boost to add to: the one that is here, or what the system
# calls its Boost, or the newest that it has beside that.
boost_version() {
    version=$boost
    if [ -z "$version" ]; then
        version=$(apt-cache show libboost-dev 2> /dev/null |
                  sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
        if [ -z "$version" ] || ! at_least "$version" $floor; then
            version=$(apt-cache search --names-only '^libboost1[.0-9]+-dev$' |
                      sed 's/^libboost\(1\.[0-9]*\)-dev.*/\1/' | sort -V |
                      tail -n 1)
        fi
    fi
    echo "${version:-$floor}"
}
if [ -n "$packages" ]; then
    echo "bootstrap.sh: missing:$missing"
    if ! have apt-get; then
        echo "bootstrap.sh: no apt-get here: install them your system's way" >&2
        exit 1
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=''
    elif have sudo && sudo -n true 2> /dev/null; then
        as_root=sudo
    else
        as_root=nobody
    fi
    [ "$as_root" = nobody ] || $as_root apt-get update -qq
    # Packages are added, never removed.
    install="apt-get install -y --no-install-recommends --no-remove"
    install="$install$(echo "$packages" | sed "s/@/$(boost_version)/g")"
    if [ "$as_root" = nobody ]; then
        cat >&2 <<EOT
bootstrap.sh: to install them takes root, or sudo without a password.  As root:
    apt-get update
    $install
and then this again.
EOT
        exit 1
    fi
    echo "bootstrap.sh: $install"
    # shellcheck disable=SC2086 # a list of words
    $as_root env DEBIAN_FRONTEND=noninteractive $install
fi

exec b2 "$@"
