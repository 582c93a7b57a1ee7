# Keeps a container called $2 of the image $3 by the program $1 (docker), as long as standard input is open; the rest is for
# the server. Says `ready` once; removes the container when the other end is closed, however that came about.
trap '' INT TERM HUP PIPE
docker=$1 name=$2 image=$3 failed=
shift 3
said=$("$docker" run --rm --detach --name "$name" --network none --env POSTGRES_HOST_AUTH_METHOD=trust \
  --env POSTGRES_INITDB_ARGS='--no-sync --locale=C --encoding=UTF8' "$image" "$@" 2>&1 < /dev/null) || failed=yes

is_running() {
  [ "$("$docker" inspect --format '{{.State.Running}}' "$name" 2> /dev/null < /dev/null)" = true ]
}

# Not by the socket: there a server answers that only sets up the folder.
answers() {
  "$docker" exec "$name" pg_isready --quiet --host 127.0.0.1 --username postgres > /dev/null 2>&1 < /dev/null
}

tries=0
until [ -n "$failed" ] || answers; do
  tries=$((tries + 1))
  if [ "$tries" -gt 600 ] || ! is_running; then
    failed=yes
    said=$("$docker" logs --tail 20 "$name" 2>&1 < /dev/null)
  fi
  sleep 0.1
done
if [ -z "$failed" ]; then
  echo ready
  read -r _
else
  printf '%s\n' "$said" | tail -n 20 >&2
fi
"$docker" rm --force --volumes "$name" > /dev/null 2>&1 < /dev/null
[ -z "$failed" ]
