#!/bin/sh
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# copy.sh PATTERN DIR: copies a pattern and exactly the headers of common/ that
# it needs.  In DIR it builds with b2, with CMake, and with the g++ line of the
# pattern's README.md.  A second pattern may join it there.
set -eu
pattern=${1:?which pattern}
to=${2:?where to: b2 copy-$pattern --to=DIR}
top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$to"
to=$(cd "$to" && pwd)
if [ "$to" = "$top" ]; then
    echo "$to is where the patterns come from" >&2
    exit 1
fi

cd "$top"
mkdir -p "$to/$pattern"
for file in "patterns/$pattern"/*; do
    cp "$file" "$to/$pattern/"
done
cp LICENSE_1_0.txt "$to/"

# The headers that the sources include, that those include, and so on; ends
# when a round has found no new one.
needed=
more=$(echo "patterns/$pattern"/*.[hc]pp)
while [ -n "$more" ]; do
    # shellcheck disable=SC2086 # a list of names without blanks
    found=$(sed -n 's|^ *# *include *"\(common/[^"]*\)".*|\1|p' $more | sort -u)
    more=
    for header in $found; do
        case " $needed " in
        *" $header "*) ;;
        *) needed="$needed $header" more="$more $header" ;;
        esac
    done
done
for header in $needed; do
    mkdir -p "$to/$(dirname "$header")"
    cp "$header" "$to/$header"
done

cat > "$to/Jamroot" <<'EOT'
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# b2 puts the program of every pattern here into bin/.

import feature ;
import modules ;

if ! [ feature.values <toolset> ]
   && ! [ MATCH "^(-*toolset=|gcc|clang)" : [ modules.peek : ARGV ] ]
{
    using gcc ;
}

project
    : requirements <include>. <threading>multi
    : default-build <variant>release <cxxstd>20
    : build-dir build
    ;

for local jamfile in [ glob */Jamfile ]
{
    local pattern = $(jamfile:D) ;
    install $(pattern)-program : $(pattern)//$(pattern) : <location>bin ;
}
EOT
echo "$pattern is in $to/$pattern, with $(echo "$needed" | wc -w) headers" \
     "of common/; there: b2, or cmake $pattern"
