#!/bin/sh
# Measures the delays by fault (docs/delays.md) on a MongoDB in docker, and saves them:
#
#   bench/delays/mongodb.sh VERSION MEMBERS    # such as 7.0 3; MEMBERS is 1 or 3
#
# It needs Linux, docker and Go. The containers keytail-delays-27211 and so on use these ports of
# 127.0.0.1, and are removed at the end. More arguments are passed on, such as --rounds 3.
# IMAGE names another image than mongo:VERSION.
set -eu

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
version=$1 members=$2
shift 2
case $members in
1) ports='27211' ;;
3) ports='27211 27212 27213' ;;
*) echo "mongodb.sh: MEMBERS must be 1 or 3" >&2; exit 2 ;;
esac
case $version in
4.*) shell=mongo ;;
*) shell=mongosh ;;
esac

remove() { for port in $ports; do docker rm --force "keytail-delays-$port" >/dev/null 2>&1 || true; done; }
trap remove EXIT
trap 'exit 130' INT TERM
remove
list=
for port in $ports; do
  docker run --detach --name "keytail-delays-$port" --network host "${IMAGE:-mongo:$version}" \
    --replSet rs0 --port "$port" --bind_ip 127.0.0.1 --setParameter enableTestCommands=1 >/dev/null
  list="$list{_id: $port - 27211, host: '127.0.0.1:$port'},"
done
first=${ports%% *}
tell() { docker exec "keytail-delays-$first" "$shell" --quiet --port "$first" --eval "$1"; }

# The server listens a moment after its container has started.
tries=60
until tell "rs.initiate({_id: 'rs0', members: [$list]})" >/dev/null 2>&1; do
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || { echo "mongodb.sh: the set cannot be initiated:" >&2; docker logs --tail 20 "keytail-delays-$first" >&2; exit 1; }
  sleep 1
done

# A set of three elects another primary ten seconds after the first has stopped.
lasts=8s stale=5s hosts=127.0.0.1:27211
[ "$members" = 1 ] || { lasts=25s stale=15s hosts=127.0.0.1:27211,127.0.0.1:27212,127.0.0.1:27213; }
# shellcheck disable=SC2016 # PRIMARY is a variable of the commands
go -C "$(dirname "$0")/.." run . delays --uri "mongodb://$hosts/?replicaSet=rs0" --for "$lasts" --max-stale "$stale" \
  --fault-command 'paused-primary=docker pause keytail-delays-${PRIMARY##*:}' \
  --heal-command 'paused-primary=docker unpause keytail-delays-${PRIMARY##*:}' \
  --fault-command 'server-killed=docker kill keytail-delays-${PRIMARY##*:}' \
  --heal-command 'server-killed=docker start keytail-delays-${PRIMARY##*:}' "$@"
