"""The table of the flags of ``update``: each with its section and field of linux.resources."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.oci.options import Flags

BYTES, NUMBER, TEXT = "bytes", "number", "text"
FIELDS = {
    "blkio-weight": ("blockIO", "weight", NUMBER),
    "cpu-period": ("cpu", "period", NUMBER),
    "cpu-quota": ("cpu", "quota", NUMBER),
    "cpu-burst": ("cpu", "burst", NUMBER),
    "cpu-share": ("cpu", "shares", NUMBER),
    "cpu-rt-period": ("cpu", "realtimePeriod", NUMBER),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", NUMBER),
    "cpu-idle": ("cpu", "idle", NUMBER),
    "cpuset-cpus": ("cpu", "cpus", TEXT),
    "cpuset-mems": ("cpu", "mems", TEXT),
    "kernel-memory": ("memory", "kernel", BYTES),
    "kernel-memory-tcp": ("memory", "kernelTCP", BYTES),
    "memory": ("memory", "limit", BYTES),
    "memory-reservation": ("memory", "reservation", BYTES),
    "memory-swap": ("memory", "swap", BYTES),
    "pids-limit": ("pids", "limit", NUMBER),
}
# flag -> for people, and the name that the kernel has for it
SCHEMAS = {"l3-cache-schema": ("L3 cache", "L3"), "mem-bw-schema": ("memory bandwidth", "MB")}
FLAGS: "Flags" = {"resources": True, **dict.fromkeys((*FIELDS, *SCHEMAS), True)}
