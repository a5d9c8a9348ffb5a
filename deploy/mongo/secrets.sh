#!/bin/sh
# Generates the secrets of docker-compose.replset.yml in two volumes: one for MongoDB
# and its operators, and one for keytail, which has access to its own password only. A
# second run changes nothing.
set -eu

# User ids in the images: mongodb in mongo, nonroot in keytail's.
mongodb=999
keytail=65532

# random prints 96 hexadecimal digits, which are valid in a keyFile and in a URI.
random() {
  od -An -v -tx1 -N48 /dev/urandom | tr -d ' \n'
}

# secret FILE OWNER creates a secret. It writes to a temporary name first, so that an
# interrupted run leaves no partial secret.
secret() {
  [ ! -s "$1" ] || return 0
  umask 077
  random >"$1.new"
  chown "$2:$2" "$1.new"
  chmod 0400 "$1.new"
  mv "$1.new" "$1"
}

# mongod rejects a keyFile that other users can read.
secret /secrets/mongo/keyfile "$mongodb"
secret /secrets/mongo/root-password 0
secret /secrets/keytail/password "$keytail"
