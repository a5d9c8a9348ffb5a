#!/bin/sh
# Makes the secrets of docker-compose.replset.yml, once, in two volumes: one for
# MongoDB and its operators, one for keytail, which sees its own password alone.
# A second run changes nothing.
set -eu

# As in the images: the user mongodb of mongo, and nonroot of keytail's.
mongodb=999
keytail=65532

# random: 96 hexadecimal digits, which are fit for a keyFile and for a URI.
random() {
  od -An -v -tx1 -N48 /dev/urandom | tr -d ' \n'
}

# secret FILE OWNER: written under another name first, so that a run that is cut
# off leaves no half of one.
secret() {
  [ ! -s "$1" ] || return 0
  umask 077
  random >"$1.new"
  chown "$2:$2" "$1.new"
  chmod 0400 "$1.new"
  mv "$1.new" "$1"
}

# mongod refuses a keyFile that others may read.
secret /secrets/mongo/keyfile "$mongodb"
secret /secrets/mongo/root-password 0
secret /secrets/keytail/password "$keytail"
