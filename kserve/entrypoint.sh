#!/bin/sh
# numba uses a cache only where it can write: the functions that were compiled with the image are copied to where it may.
set -eu
if [ ! -d "$NUMBA_CACHE_DIR" ] && [ -d "$VIGIL_COMPILED" ]; then
    rm -rf "$NUMBA_CACHE_DIR.copy"
    cp -R "$VIGIL_COMPILED" "$NUMBA_CACHE_DIR.copy"
    mv "$NUMBA_CACHE_DIR.copy" "$NUMBA_CACHE_DIR"
fi
exec "$@"
