#!/bin/bash
# Starts a gateway for S3 on port 9000, whose only user has AWS_ACCESS_KEY_ID and
# AWS_SECRET_ACCESS_KEY. What it keeps is below /data; S3_BYTES is how much that may be (a sparse
# file: it takes what is written), and may be raised later. Ends when any of its three servers
# ends: whoever started the container starts it anew.
set -eu -o pipefail
key=${AWS_ACCESS_KEY_ID:?is not set} secret=${AWS_SECRET_ACCESS_KEY:?is not set}
bytes=${S3_BYTES:-107374182400}
cd /data
rm -f /tmp/ready

# What all three and their commands read: the file of the image, and the number of this cluster.
[ -s fsid ] || { cat /proc/sys/kernel/random/uuid > fsid.new; mv fsid.new fsid; }
CEPH_CONF=/tmp/ceph.conf
{ cat /opt/s3/ceph.conf; printf '[global]\nfsid = %s\n' "$(cat fsid)"; } > "$CEPH_CONF"
export CEPH_CONF

wait_for() { # WHAT COMMAND...
  local what=$1
  shift
  for _ in $(seq 240); do
    if timeout 10 "$@" > /tmp/last 2>&1; then return; fi
    if [ -n "$(jobs -p)" ] && [ "$(jobs -pr | wc -l)" -ne "$(jobs -p | wc -l)" ]; then break; fi
    sleep 0.25
  done
  cat /tmp/last >&2
  echo "error: $what did not start" >&2
  exit 1
}

end() {
  local status=$? free size
  kill $(jobs -p) 2> /dev/null || true
  # A gateway whose disk has ended waits for it for ever, and has nothing to lose.
  for _ in $(seq 20); do [ -n "$(jobs -pr)" ] || break; sleep 0.25; done
  kill -9 $(jobs -pr) 2> /dev/null || true
  wait
  read -r free size < <(df --output=avail,size --block-size=1 /data | tail -n 1)
  [ "$status" -eq 0 ] \
    || echo "error: the server ended ($status); $free of $size bytes of /data's disk are free" >&2
}
trap end EXIT
trap 'exit 0' TERM INT

if [ ! -e mon/made ]; then
  rm -rf mon osd && mkdir mon osd
  rm -f /tmp/monmap
  monmaptool --create --fsid "$(cat fsid)" \
    --addv a '[v2:127.0.0.1:3300,v1:127.0.0.1:6789]' /tmp/monmap > /dev/null
  ceph-mon --mkfs -i a --monmap /tmp/monmap --keyring /dev/null
  touch mon/made
fi
ceph-mon -f -i a &
wait_for "the monitor" ceph -s

if [ ! -e osd/made ]; then
  rm -rf osd && mkdir osd
  [ -s osd.uuid ] || cat /proc/sys/kernel/random/uuid > osd.uuid
  ceph osd new "$(cat osd.uuid)" 0 > /dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$(cat osd.uuid)" --bluestore_block_create=true \
    --bluestore_block_size="$bytes"
  touch osd/made
fi
[ -s bytes ] || stat --format=%s osd/block > bytes
if [ "$bytes" -gt "$(cat bytes)" ]; then
  truncate --size="$bytes" osd/block
  ceph-bluestore-tool bluefs-bdev-expand --path osd > /tmp/last 2>&1 || { cat /tmp/last >&2; exit 1; }
  echo "$bytes" > bytes.new && mv bytes.new bytes
fi
ceph-osd -f -i 0 &
wait_for "the disk" sh -c 'ceph osd stat | grep -q "1 up"'

radosgw -f -n client.rgw --no-mon-config &
wait_for "the gateway" bash -c 'exec 3<> /dev/tcp/127.0.0.1/9000'
# The user's only key is the one of .env: one that was changed takes the place of the one before.
mir() { radosgw-admin "$1" "$2" --uid mir "${@:3}"; }
mir user info > /tmp/user 2> /dev/null \
  || mir user create --display-name mir --access-key "$key" --secret-key "$secret" > /tmp/user
mir key create --key-type s3 --access-key "$key" --secret-key "$secret" > /dev/null
for old in $(python3 -c 'import json; print(*(key["access_key"] for key in
    json.load(open("/tmp/user"))["keys"]))'); do
  [ "$old" = "$key" ] || mir key rm --key-type s3 --access-key "$old" > /dev/null
done
rm -f /tmp/user
touch /tmp/ready
echo "The gateway answers on port 9000"

wait -n || exit $?
exit 1
