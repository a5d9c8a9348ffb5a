#!/bin/sh
# Runs after the files were removed. The user stays, because files of it may, and so does
# what others have written into /etc/keytail.
set -e

case "$1" in
remove | 0)
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
  fi
  ;;
esac
