# Keeps a server in the folder $1, made of the programs in $2, with $3 added to its settings; as long as standard input is open.
# Says `ready` once; ends the server when the other end is closed, however that came about.
trap '' INT TERM HUP PIPE
umask 077
folder=$1 bin=$2 settings=$3 failed=
export PGDATA="$folder/data"

make() {
  "$bin/initdb" --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync &&
    printf '%s\n' "$settings" >> "$PGDATA/postgresql.conf"
}

serve() {
  "$bin/postgres"
  : > "$folder/ended"
}

if make > "$folder/log" 2>&1 < /dev/null; then
  serve >> "$folder/log" 2>&1 < /dev/null &
  until grep -qs ready "$PGDATA/postmaster.pid"; do
    if [ -e "$folder/ended" ]; then
      failed=yes
      break
    fi
    sleep 0.02
  done
else
  failed=yes
fi
if [ -z "$failed" ]; then
  echo ready
  read -r _
  kill -QUIT "$(head -n 1 "$PGDATA/postmaster.pid")"
else
  tail -n 20 "$folder/log" >&2
fi
wait
[ -z "$failed" ]
