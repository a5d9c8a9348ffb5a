#!/bin/sh
# Runs before the files are removed. An upgrade does not stop keytail here: postinstall.sh
# restarts it with the new binary.
set -e

case "$1" in
remove | 0)
  if [ -d /run/systemd/system ]; then
    systemctl disable --now keytail.service
  fi
  ;;
esac
