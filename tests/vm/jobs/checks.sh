# Sourced by smoke and suite: what a user sees of the command itself.

knarr bootstrap busybox || exit 1
check 'output' 'hi' "$(knarr run --rm busybox echo hi)"
check 'input' 'HI' "$(echo hi | knarr run -i --rm busybox tr a-z A-Z)"
knarr run --rm busybox sh -c 'exit 7'
check 'exit code' 7 $?

# all of Debian's kernels so far are too old for it
need='layers that are still to come need'
check 'a lazy start is refused in words' "$need" \
    "$(knarr run --rm --pull lazy localhost:1/image true 2>&1 | grep -o "$need")"

options='--memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 50'
knarr run -d --name limited $options busybox sleep 1000 >/dev/null
pid=$(knarr inspect -f '{{.State.Pid}}' limited)
group=/sys/fs/cgroup$(cut -d : -f 3 "/proc/$pid/cgroup")
check 'memory.max' 67108864 "$(cat "$group/memory.max")"
check 'memory.swap.max' 0 "$(cat "$group/memory.swap.max")"
check 'cpu.max' '50000 100000' "$(cat "$group/cpu.max")"
check 'pids.max' 50 "$(cat "$group/pids.max")"
names='cgroup ipc mnt net pid uts'
[ "$VM_KERNEL" = 5.10 ] || names="$names user"
for name in $names; do
    if [ "$(readlink /proc/self/ns/$name)" = "$(readlink "/proc/$pid/ns/$name")" ]; then
        check "own $name namespace" own shared
    fi
done
case $VM_KERNEL in
5.10) check 'root inside is root outside, for want of idmapped layers' 0 "$(stat -c %u "/proc/$pid")" ;;
*) check 'root inside is nobody outside' no "$([ "$(stat -c %u "/proc/$pid")" = 0 ] && echo yes || echo no)" ;;
esac
check 'confined by AppArmor' 'knarr-default (enforce)' "$(cat "/proc/$pid/attr/current")"
knarr rm -f limited >/dev/null
check 'its control group is gone' no "$([ -e "$group" ] && echo yes || echo no)"

knarr run --name greedy --memory 32m --memory-swap 32m busybox tail /dev/zero
check 'exit code of an out-of-memory kill' 137 $?
check 'out-of-memory kill reported' true "$(knarr inspect -f '{{.State.OOMKilled}}' greedy)"
knarr rm greedy >/dev/null

# devices are kept out by a BPF program on the container's control group
check 'no device but the standard ones' refused \
    "$(knarr run --rm --userns host --cap-add MKNOD busybox sh -c \
        'mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk >/dev/null 2>&1 && echo read || echo refused')"
check 'the standard ones work' works \
    "$(knarr run --rm busybox sh -c 'head -c 1 /dev/zero >/dev/null && echo works')"
# Layers stay mounted for the next container; now there is none, once the last one's supervisor
# has ended, which a slow machine takes a while for.
left=1
for _ in 1 2 3 4 5 6 7 8 9 10; do
    knarr recover >/dev/null
    left=$(grep -c /var/lib/knarr /proc/self/mountinfo)
    [ "$left" = 0 ] && break
    sleep 1
done
check 'no mounts left' 0 "$left"
