# Runs the rest of the command line, and removes the folder $1 when that has ended, in whatever way.
trap '' INT TERM HUP PIPE
folder=$1
shift
"$@"
code=$?
rm -rf "$folder"
exit "$code"
