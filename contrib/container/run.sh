#!/bin/sh
# Runs the container image with a read-only root directory and ./config.json. Writable are only /tmp, for the private
# socket between the two processes, and the cache, a volume that gets the owner of the directory in the image.
#
# usage: contrib/container/run.sh [IMAGE]
set -eu

exec "${DOCKER:-docker}" run --rm --read-only --tmpfs /tmp \
    --mount type=volume,dst=/var/cache/s3imageserver \
    --mount type=bind,src="$PWD/config.json",dst=/etc/s3imageserver/config.json,readonly \
    -p 8080:8080 "${1:-s3imageserver:0.1.0}"
