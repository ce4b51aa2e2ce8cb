#!/bin/sh
# Process 1 of the guest: brings up devices, network, configfs and iscsid, then obeys the host (command_port.py).
# initramfs-tools has mounted /dev, /proc, /sys and /run already.

mount -t tmpfs tmpfs /tmp
mkdir -p /dev/pts /dev/shm && mount -t devpts devpts /dev/pts && mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
hostname guest
echo "127.0.0.1 localhost guest" > /etc/hosts

/lib/systemd/systemd-udevd --daemon
for module in virtio_console virtio_net configfs loop; do modprobe $module; done
udevadm trigger --type=subsystems
udevadm trigger --type=devices
udevadm settle --timeout=30

# QEMU's user network: the guest is 10.0.2.15, the host 10.0.2.2. There is no name server on purpose.
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2

mount -t configfs configfs /sys/kernel/config
mkdir -p /etc/target /run/lock/iscsi /etc/iscsi
echo "InitiatorName=iqn.2026-11.io.lundock:guest" > /etc/iscsi/initiatorname.iscsi
modprobe iscsi_tcp
iscsid

export PYTHONPATH=/srv/lundock:/opt/lundock/libraries LUNDOCK_GUEST=1
cd /srv/lundock
python3 tests/guest/command_port.py
echo o > /proc/sysrq-trigger
sleep 60
