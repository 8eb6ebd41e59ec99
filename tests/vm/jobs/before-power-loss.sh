# Containers in every state, then the plug is pulled.
. tests/vm/jobs/common.sh
knarr bootstrap busybox || exit 1
knarr run -d --name running busybox sh -c 'echo before; exec sleep 1000' || exit 1
knarr run -d --rm --name passing busybox sleep 1000 || exit 1
knarr run --name ended busybox sh -c 'echo last words; exit 3'
knarr create --name waiting busybox echo at last || exit 1
knarr exec running sh -c 'echo kept >/file; sync'
install -m 644 packaging/knarr-recover.service /etc/systemd/system/
systemctl enable knarr-recover.service
sync
exec vm-power-loss
