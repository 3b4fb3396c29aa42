#!/bin/bash
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# Copies every pattern out of the tree, and builds and runs it there in all
# the ways that its page promises: b2, CMake, and one g++ line.
#
# copy_test.sh [PATTERN...]
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
to=$(mktemp -d)
trap 'rm -rf "$to"' EXIT

# works NAME PROGRAM: does it do its job?  A pattern that is not named here
# has to explain itself at least.
works() {
    local name=$1 program=$2 d
    d=$(mktemp -d -p "$to")
    case $name in
    worker_pool)
        "$program" "$top/common" > "$d/sums" &&
            sha256sum --quiet -c "$d/sums" && test -s "$d/sums"
        ;;
    parallel_execution)
        "$program" --width 64 --height 48 --output "$d/picture.png" &&
            head -c 8 "$d/picture.png" | od -An -c | grep -q 'P   N   G'
        ;;
    map_reduce)
        printf 'to be, or not to be\n' > "$d/text"
        test "$("$program" "$d/text" | tr '\t\n' ': ')" = \
            '2:be 2:to 1:not 1:or '
        ;;
    pipeline)
        "$program" "$top/Jamroot" --output "$d/it.gz" && gzip -t "$d/it.gz" &&
            gzip -dc "$d/it.gz" | cmp - "$top/Jamroot"
        ;;
    thread_pool_multiprocessing)
        "$program" --frames 3 --size 64x48 --output "$d" &&
            head -c 8 "$d/frame-0002.png" | od -An -c | grep -q 'P   N   G'
        ;;
    asynchronous_processing)
        test "$("$program" --drive 3 | grep -c '  /tile/')" = 3
        ;;
    *) "$program" --help | grep -q -e --workers ;;
    esac
}

# attempt TITLE COMMAND...: a count, and the output if it fails.
attempt() {
    local title=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "passed: $title"
    else
        printf 'failed: %s\n%s\n' "$title" "$said"
    fi
}

exact() { # the headers copied are those that the compiler reads
    diff <(cd "$1" && find common -name '*.hpp' | sort) \
         <(cd "$1" && ${CXX:-g++} -std=c++20 -MM -I. "$2/main.cpp" |
           grep -o 'common/[^ ]*' | sort -u)
}
with_b2() {
    cd "$1" && b2 -j1 variant=debug debug-symbols=off && works "$2" "$1/bin/$2"
}
with_cmake() {
    cmake -S "$1/$2" -B "$1/cmake" -DCMAKE_BUILD_TYPE=Debug \
        -DCMAKE_CXX_FLAGS_DEBUG=-O0 &&
        cmake --build "$1/cmake" && works "$2" "$1/cmake/$2"
}
with_one_line() {
    local line
    line=$(sed -n 's/^ *\$* *\(g++ .*\)/\1/p' "$1/$2/README.md")
    if [ "$(grep -c . <<< "$line")" != 1 ]; then
        echo "README.md must hold one line that starts with g++, not: $line"
        return 1
    fi
    echo "$line"
    (cd "$1" && eval "${line/ -O2 / -O0 }") &&
        works "$2" "$1/$(sed 's/.* -o *\([^ ]*\).*/\1/' <<< "$line")"
}

one_pattern() {
    local d=$to/$1
    attempt "$1: copied" "$top/patterns/copy.sh" "$1" "$d"
    attempt "$1: exactly the headers that it needs" exact "$d" "$1"
    attempt "$1: built with b2" with_b2 "$d" "$1"
    attempt "$1: built with CMake" with_cmake "$d" "$1"
    attempt "$1: built with one g++ line" with_one_line "$d" "$1"
}

# Two at a time: a build is one compiler.  Without names and lines for a
# debugger, and not optimized, which takes half the time.
patterns=("$@")
[ $# -gt 0 ] || mapfile -t patterns < <(cd "$top/patterns" && echo */ |
                                        tr -d '/' | tr ' ' '\n')
for one in "${patterns[@]}"; do
    one_pattern "$one" > "$to/$one.report" &
    while [ "$(jobs -r | wc -l)" -ge 2 ]; do
        wait -n
    done
done
wait
reports=("${patterns[@]/#/$to/}")
cat "${reports[@]/%/.report}"
passed=$(cat "${reports[@]/%/.report}" | grep -c '^passed: ')
failed=$(cat "${reports[@]/%/.report}" | grep -c '^failed: ')
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
