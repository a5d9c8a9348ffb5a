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
  systemctl try-restart keytail.service ||
    echo 'keytail did not start again after its upgrade: journalctl --unit keytail' >&2
fi
