#!/bin/sh
# Build the kubectl plugin for krew: build.sh DIRECTORY BASE_URL HOMEPAGE
#
# DIRECTORY gets vm-disks.tar.gz (one executable file that Python 3.11 runs, and the licence) and vm-disks.yaml, the krew
# manifest with the archive's digest. libvirt's binding is not inside, for it belongs to the machine's libvirt.
# Try it: kubectl krew install --manifest=DIRECTORY/vm-disks.yaml --archive=DIRECTORY/vm-disks.tar.gz
set -eu

usage='usage: build.sh DIRECTORY BASE_URL HOMEPAGE'
directory=${1:?$usage} url=${2:?$usage} homepage=${3:?$usage}
root=$(cd "$(dirname "$0")/../.." && pwd)
version=$(python3 -c "import re; print(re.search(r'version=\"(.+?)\"', open('$root/setup.py').read())[1])")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$directory" "$work/app" "$work/plugin"

cp -R "$root/setup.py" "$root/pyproject.toml" "$root/README.md" "$root/LICENSE" "$root/lundock_common" "$root/vm_disks" "$work"
python3 -m pip install --quiet --target "$work/app" "kubernetes>=31" "click>=8.1" "pyyaml>=6" "rich>=13"
# As a package, not as files: --version reads its metadata.
python3 -m pip install --quiet --upgrade --target "$work/app" --no-deps "$work"
rm -rf "$work/app/bin" "$work/app/vm_disks/runner" "$work/app/vm_disks/krew"
find "$work/app" -name __pycache__ -prune -exec rm -rf {} +
python3 -m zipapp --compress --python "/usr/bin/env python3" --main vm_disks.__main__:main \
    --output "$work/plugin/kubectl-vm_disks" "$work/app"
cp "$root/LICENSE" "$work/plugin"
tar -C "$work/plugin" --owner=0 --group=0 --sort=name -czf "$directory/vm-disks.tar.gz" kubectl-vm_disks LICENSE
digest=$(sha256sum "$directory/vm-disks.tar.gz" | cut -d' ' -f1)
sed -e "s|@VERSION@|v$version|" -e "s|@URL@|$url/vm-disks.tar.gz|" -e "s|@SHA256@|$digest|" -e "s|@HOMEPAGE@|$homepage|" \
    "$root/vm_disks/krew/vm-disks.yaml.in" > "$directory/vm-disks.yaml"
echo "$directory/vm-disks.yaml"
