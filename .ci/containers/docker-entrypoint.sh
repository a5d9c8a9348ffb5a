#!/bin/sh
# As in the official image: mongod runs as the user mongodb.
set -eu
exec setpriv --reuid=mongodb --regid=mongodb --clear-groups "$@"
