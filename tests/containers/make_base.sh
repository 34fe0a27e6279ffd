#!/bin/sh
# A base image without a registry: Debian with Python, by debootstrap. Needs root, podman and a Debian mirror.
#   make_base.sh [IMAGE]
set -eu
image=${1:-localhost/fairuniverse-base}
folder=$(mktemp -d)
# debootstrap mounts the machine's own /proc inside: it must be gone before anything is packed or removed.
trap 'umount "$folder/proc" 2>/dev/null || true; rm -rf --one-file-system "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder" >/dev/null
umount "$folder/proc" 2>/dev/null || true
rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
tar -C "$folder" --numeric-owner --one-file-system --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -c . |
    podman import - "$image"
