# Makes the places that the manual names, in a mount namespace of their own: the machine itself is not touched.
# $1: a folder outside of them. The reader is ann, who may do with sudo what root may.
set -euo pipefail
folder=$1
tmpfs() { mount -t tmpfs -o mode=755 "$1" "$2"; }
tmpfs places /mnt
mkdir /mnt/usb /mnt/new
tmpfs usb /mnt/usb
tmpfs new /mnt/new
tmpfs places /srv
tmpfs places /usr/share/doc
mount -t tmpfs shm /dev/shm
tmpfs etc "$folder/etc"
mkdir "$folder/etc/upper" "$folder/etc/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$folder/etc/upper,workdir=$folder/etc/work" overlay /etc
rm -f /etc/shoebox.toml
echo "ann:x:4321:4321::$folder/home:/bin/bash" >> /etc/passwd
echo ann:x:4321: >> /etc/group
chown -R ann: "$folder/home"
cp "$(command -v setpriv)" "$folder/etc/elevate"
chmod 4755 "$folder/etc/elevate"
echo ready
exec sleep infinity
