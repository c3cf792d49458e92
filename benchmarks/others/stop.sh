#!/bin/sh
# Stops the VMs of a file of UUIDs, so many at once: curl and xargs, polling once a POLL seconds, as people write it.
# Usage: ENDPOINT=... ACCOUNT=... DIGEST=... POLL=1 stop.sh FILE CONCURRENCY TIMEOUT; prints "UUID stopped" or "UUID failed".
set -u
SESSION=$(curl -s -X PUT "$ENDPOINT/v1/accounts/login" -H 'Content-Type: application/json' \
  -d "{\"logInByAccount\":{\"accountName\":\"$ACCOUNT\",\"password\":\"$DIGEST\"}}" |
  sed 's/.*"uuid": *"\([0-9a-f]*\)".*/\1/')
export SESSION
export TRIES=$(awk "BEGIN { print int($3 / $POLL) }")
xargs -P "$2" -I UUID sh -c '
  answer=$(curl -s -X PUT "$ENDPOINT/v1/vm-instances/UUID/actions" -H "Authorization: OAuth $SESSION" \
    -H "Content-Type: application/json" -d "{\"stopVmInstance\":{\"type\":\"grace\"}}")
  job=$(printf %s "$answer" | sed -n "s|.*/api-jobs/\([0-9a-f]*\).*|\1|p")
  [ -n "$job" ] || { echo "UUID failed"; exit 0; }
  tries=0
  while [ "$tries" -lt "$TRIES" ]; do
    status=$(curl -s -o /dev/null -w "%{http_code}" "$ENDPOINT/v1/api-jobs/$job")
    case $status in
      202) sleep "$POLL"; tries=$((tries + 1)) ;;
      200) echo "UUID stopped"; exit 0 ;;
      *) break ;;
    esac
  done
  echo "UUID failed"
' <"$1"
curl -s -o /dev/null -X DELETE "$ENDPOINT/v1/accounts/sessions/$SESSION" -H "Authorization: OAuth $SESSION"
