# The same disk, booted again; the unit has run `knarr recover` on the way up.
. tests/vm/jobs/common.sh
check 'the unit has done its work' active "$(systemctl is-active knarr-recover.service)"
systemctl is-active --quiet knarr-recover.service || journalctl --no-pager -u knarr-recover.service
knarr recover || check 'recover once more' 0 $?
knarr ps -a
status() { knarr inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$1" 2>/dev/null || echo gone; }
check 'the running one has ended' exited "$(status running | cut -d ' ' -f 1)"
check 'the one with --rm is gone' gone "$(status passing | tail -n 1)"
check 'the ended one is as it was' 'exited 3' "$(status ended)"
check 'the waiting one still waits' created "$(status waiting | cut -d ' ' -f 1)"
check 'logs from before' before "$(knarr logs running)"
check 'nothing is mounted' 0 "$(grep -c /var/lib/knarr /proc/self/mountinfo)"
check 'a container starts again' running "$(knarr start running)"
check 'with its files' kept "$(knarr exec running cat /file)"
check 'a waiting one starts at last' 'at last' "$(knarr start -a waiting)"
knarr rm -f running ended waiting >/dev/null
check 'no container is left' '' "$(knarr ps -aq)"
check 'no snapshot is left' '' "$(ls /var/lib/knarr/snapshots/c 2>/dev/null)"
finish
