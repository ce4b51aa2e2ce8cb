#!/bin/sh
# Build the demo disk: a small disk that boots to a login prompt, from Debian's packages and nothing else.
#
#   build.sh OUTPUT [KERNEL_PACKAGE]
#
# OUTPUT is a raw, sparse 64 MiB FAT disk with the kernel, an initramfs that is the whole system, syslinux for BIOS
# (amd64) and systemd-boot for UEFI (amd64 and arm64). Beside it, OUTPUT.manifest lists the Debian packages (name, version,
# source package) whose files the disk carries. Needs no privilege, no loop device and no mount; needs apt's package lists
# and: busybox-static cpio gzip kmod mtools systemd-boot-efi, and syslinux on amd64.
#
# KERNEL_PACKAGE is linux-image-cloud-<architecture> unless given. It starts twice as fast without KVM as linux-image-amd64
# (7 s against 15 s to the login prompt, seen on two busy cores), which knows more hardware: SATA and e1000 among it. From a
# SATA disk the cloud kernel starts too, since the firmware reads it; it only does not see the disk afterwards.
# With SOURCE_DATE_EPOCH set, the same packages give the same bytes.
set -eu

SIZE_MIB=64
here=$(cd "$(dirname "$0")" && pwd)
output=${1:?usage: build.sh OUTPUT [KERNEL_PACKAGE]}
arch=$(dpkg --print-architecture)
case $arch in
    amd64) serial=ttyS0 efi_suffix=x64 efi_name=BOOTX64.EFI ;;
    arm64) serial=ttyAMA0 efi_suffix=aa64 efi_name=BOOTAA64.EFI ;;
    *) echo "build.sh: no demo disk for $arch: amd64 and arm64 only" >&2; exit 1 ;;
esac
kernel_meta=${2:-linux-image-cloud-$arch}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The kernel: unpacked, not installed, so that no boot loader or initramfs tool of this machine runs
kernel_package=$(apt-cache depends "$kernel_meta" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[ -n "$kernel_package" ] || { echo "build.sh: apt knows no $kernel_meta; run apt-get update first" >&2; exit 1; }
(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$kernel_package")
dpkg-deb -x "$work/$kernel_package"_*.deb "$work/kernel"
release=$(ls "$work/kernel/lib/modules")

# The initramfs: busybox, the files of root/, and the modules that find a disk, a network card and the power button
root=$work/root
cp -R "$here/root" "$root"
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/root"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
printf '%s\n' "$serial" > "$root/etc/serial"

modules="$root/lib/modules/$release"
mkdir -p "$modules"
cp "$work/kernel/lib/modules/$release"/modules.order "$work/kernel/lib/modules/$release"/modules.builtin* "$modules"
depmod -b "$work/kernel" "$release"
while read -r module; do
    # A kernel flavour may lack a driver (the cloud kernel has no AHCI) or have it built in: then there is nothing to copy.
    modprobe -d "$work/kernel" -S "$release" --show-depends "$module" 2>/dev/null || true
done < "$root/etc/modules" | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r path; do
    target="$modules/${path#"$work/kernel/lib/modules/$release/"}"
    mkdir -p "${target%/*}"
    cp "$path" "$target"
done
depmod -b "$root" "$release"

chmod -R u=rwX,go=rX "$root"
find "$root" -depth -exec touch -h -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" {} +
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0) | gzip -9n > "$work/initrd.gz"

# What the disk is made of
kernel_version=$(dpkg-deb -f "$work/$kernel_package"_*.deb Version)
{
    echo "$kernel_package $kernel_version linux"
    for package in busybox-static systemd-boot-efi $([ "$arch" = amd64 ] && echo syslinux); do
        dpkg-query -W -f '${Package} ${Version} ${source:Package}\n' "$package"
    done
} > "$work/manifest"

# The disk
options="console=tty1 console=$serial quiet loglevel=4 panic=30"
cp "$work/kernel/boot/vmlinuz-$release" "$work/linux"
cp "/usr/lib/systemd/boot/efi/systemd-boot$efi_suffix.efi" "$work/$efi_name"
printf 'DEFAULT lundock\nPROMPT 0\nLABEL lundock\n  LINUX /linux\n  INITRD /initrd.gz\n  APPEND %s\n' "$options" > "$work/syslinux.cfg"
printf 'timeout 0\neditor no\n' > "$work/loader.conf"
printf 'title Lundock demo disk\nlinux /linux\ninitrd /initrd.gz\noptions %s\n' "$options" > "$work/lundock.conf"
{
    echo "The Lundock demo disk. It carries files of these Debian packages (name, version, source package);"
    echo "sources: https://snapshot.debian.org/, licences: /usr/share/doc/<package>/copyright in each package."
    echo
    cat "$work/manifest"
} > "$work/readme.txt"

disk=$work/disk
truncate -s "${SIZE_MIB}M" "$disk"
find "$work" -maxdepth 1 -type f -exec touch -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" {} +
# One FAT over the whole disk, without a partition table: BIOS and UEFI both boot it, and a copy onto a larger volume stays
# valid (there is no partition table whose end would have to move).
mformat -i "$disk" -v LUNDOCK -N 10C0D0C5 -T $((SIZE_MIB * 2048)) -h 16 -s 63 ::
mmd -i "$disk" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
mcopy -m -i "$disk" "$work/linux" "$work/initrd.gz" "$work/readme.txt" ::/
mcopy -m -i "$disk" "$work/$efi_name" ::/EFI/BOOT/
mcopy -m -i "$disk" "$work/loader.conf" ::/loader/
mcopy -m -i "$disk" "$work/lundock.conf" ::/loader/entries/
if [ "$arch" = amd64 ]; then
    mcopy -m -i "$disk" "$work/syslinux.cfg" ::/
    syslinux --install "$disk"
fi

cp --sparse=always "$disk" "$output.partial"
cp "$work/manifest" "$output.manifest"
mv "$output.partial" "$output"
echo "$output: $SIZE_MIB MiB, $(du -k "$output" | cut -f1) KiB of it used, kernel $release ($kernel_version)"
