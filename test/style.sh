#!/bin/bash
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# What all sources keep to, as far as a script can see it.
cd "$(dirname "$0")/.." || exit 1
failed=0

complain() {
    if [ -n "$2" ]; then
        printf '%s:\n%s\n\n' "$1" "$2"
        failed=1
    fi
}

places=()
for one in common patterns test doc; do
    [ -d $one ] && places+=("$one")
done
mapfile -t cpp < <(find "${places[@]}" -name '*.[hc]pp' | sort)
mapfile -t hpp < <(find "${places[@]}" -name '*.hpp' | sort)
mapfile -t laws < <(find test -name '*_test.cpp' | sort)
mapfile -t others < <(find Jamroot bootstrap.sh .ci "${places[@]}" -type f \
    \( -name Jamroot -o -name Jamfile -o -name '*.jam' -o -name '*.sh' \
       -o -name run -o -name CMakeLists.txt -o -name '*.pml' \
       -o -name '*.py' \) | sort)

holder='Copyright 2026 The Authors.'
licence='Distributed under the Boost Software License, Version 1.0.'
complain "without the two lines of the licence" "$(
    for one in "${cpp[@]}" "${others[@]}"; do
        sed '1{/^#!/d}' "$one" | awk -v one="$one" -v a="$holder" \
            -v b="$licence" '
            NR == 1 && $0 != "// " a && $0 != "# " a { print one; exit }
            NR == 2 && $0 != "// " b && $0 != "# " b { print one; exit }
            NR == 3 && one ~ /[hc]pp$/ && $0 !~ /^(\/\/)?$|^\/\/ error: / {
                print one }
            NR == 3 { exit }'
    done)"
complain "not ASCII" "$(LC_ALL=C grep -nP '[^\x00-\x7f]' \
    "${cpp[@]}" "${others[@]}")"
complain "longer than 80 columns" "$(grep -nE '^.{81,}' "${cpp[@]}")"
complain "a tab, or blanks at the end of a line" \
    "$(grep -nP '\t| $' "${cpp[@]}")"
complain "a header without #pragma once" \
    "$(grep -L '^#pragma once$' "${hpp[@]}")"
complain "C++ that clang 14 or g++ 12 do not have" \
    "$(grep -nE 'std::(format|expected|source_location)|consteval' \
       "${cpp[@]}")"
complain "a mark of unfinished work" \
    "$(grep -nE '\b(TODO|FIXME|XXX|HACK)\b' "${cpp[@]}" "${others[@]}" |
       grep -v '^test/style.sh:')"
if [ ${#laws[@]} -gt 0 ]; then
    complain "laws that do not run in test::clean" \
        "$(grep -L 'test::clean' "${laws[@]}")"
    complain "laws that sleep: wait for a fact" \
        "$(grep -nE 'sleep_(for|until)\(|[^a-z_]u?sleep\(' "${laws[@]}")"
fi

if clang-format --version 2>/dev/null | grep -q 'version 14\.'; then
    complain "not as clang-format has it" \
        "$(clang-format --dry-run --Werror "${cpp[@]}" 2>&1 |
           grep -o '^[^ ]*: error' | cut -d: -f1 | sort | uniq -c)"
else
    echo "clang-format 14 is not here: formatting was not looked at"
fi

exit $failed
