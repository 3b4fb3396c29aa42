#!/bin/sh
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# refuses.sh SOURCE COMPILER...: passes when SOURCE does not compile, and the
# compiler says each text that SOURCE demands in a line '// error: TEXT'.
source=$1
shift
wanted=$(sed -n 's|^// error: ||p' "$source")
if [ -z "$wanted" ]; then
    echo "$source demands nothing: it needs a line '// error: TEXT'"
    exit 1
fi
if said=$("$@" "$source" 2>&1); then
    echo "$source compiles, and must not"
    exit 1
fi
printf '%s\n' "$wanted" | while IFS= read -r text; do
    case $said in
    *"$text"*) ;;
    *)
        echo "$source: the compiler does not say: $text"
        printf 'It says:\n%s\n' "$said"
        exit 1
        ;;
    esac
done
