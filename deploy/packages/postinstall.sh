#!/bin/sh
# Runs after the installation and after an upgrade, from the deb and from the rpm. It
# does not enable or start keytail: somebody must write the configuration first.
set -e

systemd-sysusers keytail.conf
systemd-tmpfiles --create keytail.conf

# dpkg calls it with "configure" and the version before, rpm with the number of versions.
case "$1,$2" in
configure, | 1,)
  echo 'keytail is installed and not started. Edit /etc/keytail/keytail.yaml, then: systemctl enable --now keytail'
  ;;
esac

# A machine without a running systemd has no unit to tell: a container, or an image.
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # keytail is live when it has scanned all keys. The package manager does not wait for that.
  systemctl --no-block try-restart keytail.service
fi
