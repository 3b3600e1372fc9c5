# shellcheck shell=bash
# The shim over dav1d and libaom (src/render/av1 calls it): ours, in C, so that their headers say what their structs are.
# shellcheck disable=SC2086 # CFLAGS are several words
cc -std=c11 -Wall -Wextra -Werror $CFLAGS -fPIC -I "$STAGE$FIXED_PREFIX/include" -c "$RECIPE/av1.c" -o av1.o
ar rcs "$STAGE$FIXED_PREFIX/lib/libs3av1.a" av1.o
