#!/bin/sh
# numba uses a cache only where it can write: the functions that were compiled with the image are copied to where it may.
set -eu
if [ ! -d "$NUMBA_CACHE_DIR" ] && [ -d /opt/vigil-compiled ]; then
    rm -rf "$NUMBA_CACHE_DIR.copy"
    cp -R /opt/vigil-compiled "$NUMBA_CACHE_DIR.copy"
    mv "$NUMBA_CACHE_DIR.copy" "$NUMBA_CACHE_DIR"
fi
exec "$@"
