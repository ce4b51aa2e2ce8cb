#!/bin/sh
# Print what the image carries: every Debian and Python package, its version, where its licence and its source are.
set -eu
cat <<'END'
What the image lundock/target carries
=====================================

Lundock itself is under the Apache License 2.0 (LICENSE, in this folder).

Files of Debian packages. The licence of each lies in /usr/share/doc/<package>/copyright, here or in the package; the
complete source of exactly these versions is at https://snapshot.debian.org/package/<source>/<source version>/ and by
`apt-get source <package>=<version>`.

The demo disk (demo.img.gz) is built from the packages below by target_image/demo_disk/build.sh of Lundock's sources; the
Linux kernel, busybox and syslinux in it are under the GNU GPL version 2 or later versions as their copyright files say.

END
echo '-- in the demo disk: package, version, source package'
cat /usr/share/lundock/demo.img.manifest
echo
echo '-- in the file system: package, version, source package'
cat /usr/share/lundock/tgt.manifest
dpkg-query -W -f '${Package} ${Version} ${source:Package}\n'
echo
echo '-- Python packages: name, version, licence; the sources of exactly these versions are on PyPI'
/opt/lundock/bin/python - <<'END'
from importlib.metadata import distributions

for found in sorted(distributions(), key=lambda found: found.name.lower()):
    about = found.metadata
    classified = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier", []) if c.startswith("License ::")]
    licence = about.get("License-Expression") or "; ".join(classified) or (about.get("License") or "?").splitlines()[0]
    print(f"{found.name} {found.version} | {licence}")
END
