#!/bin/sh
# Do in an unpacked base of another architecture what its packages' scripts would: create users and the link of sh.
# mmdebstrap calls this hook with the base's folder.
set -eu
root=$1
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
chmod 644 "$root/etc/passwd" "$root/etc/group"
chmod 1777 "$root/tmp"
if [ ! -e "$root/bin/sh" ]; then ln -s dash "$root/bin/sh"; fi
