#!/bin/sh
# A base image without a registry: Python and what it needs of this machine's Debian or Ubuntu, unpacked and not
# installed. Needs root, podman and the package index that apt-get is set up with.
#   make_base.sh [IMAGE [CHANGE]]    # CHANGE as `podman import --change` takes it
set -eu
image=${1:-localhost/fairuniverse-base}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/root
mkdir -p "$folder/debs/partial" "$root/etc" "$root/root" "$root/proc" "$root/sys" "$root/dev" "$root/run"
install -d -m 1777 "$root/tmp"
for name in bin sbin lib lib64; do
    mkdir -p "$root/usr/$name"
    ln -s "usr/$name" "$root/$name"
done
printf 'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
# Where nothing is installed, apt-get fetches all that a package needs.
: >"$folder/status"
fetch() {
    apt-get -qq -y --no-install-recommends --download-only \
        -o Dir::State::status="$folder/status" -o Dir::Cache::archives="$folder/debs" -o APT::Sandbox::User=root \
        install dash coreutils libc-bin libstdc++6 python3-venv
}
fetch 2>/dev/null || { apt-get -qq update && fetch; }
for deb in "$folder"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" --keep-directory-symlink -x
done
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
tar -C "$root" -c . | podman import --quiet ${2:+--change "$2"} - "$image"
