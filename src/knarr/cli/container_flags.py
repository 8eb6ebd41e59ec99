"""The flags of ``run`` and ``create``: one table, in the order of the alphabet."""

from __future__ import annotations

from knarr.cli import lockpin, mountargs, networkargs, runvalues
from knarr.cli.flags import (
    ANNOTATIONS,
    BYTES,
    BYTES_OR_ALL,
    CPUS,
    DURATION,
    ENVIRONMENT,
    KEYS,
    LABELS,
    LIST,
    NUMBER,
    OPERATIONS,
    RATES,
    STREAMS,
    SWITCH,
    TEXT,
    WEIGHT,
    Flag,
    Kind,
)

ADDRESSES = Kind("list", runvalues.address, many=True)
DOMAINS = Kind("list", runvalues.search_domain, many=True)
HOSTS = Kind("list", runvalues.extra_host, many=True)
ULIMITS = Kind("ulimit", runvalues.ulimit, many=True)
SYSCTLS = Kind("map", runvalues.sysctl, many=True)
WEIGHTS = Kind("list", runvalues.device_weight, many=True)
MOUNTS = Kind("mount", mountargs.mount, many=True)
DEVICE_RULES = Kind("list", runvalues.device_rule, many=True)

DETACH_KEYS = Flag(
    "detach-keys",
    KEYS,
    "Keys that detach from a container with a terminal: characters and ctrl-X, separated by "
    "commas (default ctrl-p,ctrl-q)",
    example="--detach-keys ctrl-a,d",
)
SIG_PROXY = Flag(
    "sig-proxy",
    SWITCH,
    "Pass signals on to the process (never with a terminal)",
    default=True,
    example="--sig-proxy=false",
)

EXPLAIN = Flag(
    "explain",
    SWITCH,
    "Explain on STDERR what makes the process a container, with the times of its start, before "
    "its command does anything",
    example="--explain",
)

COMMON: tuple[Flag, ...] = (
    Flag("add-host", HOSTS, "Add a line to /etc/hosts: NAME=ADDRESS or NAME:ADDRESS; "
         "'host-gateway' is the host, where its network is shared",
         example="--add-host db=10.0.0.7"),
    Flag("annotation", ANNOTATIONS, "Add an annotation to the container's OCI spec",
         example="--annotation org.example.owner=team-a"),
    Flag("blkio-weight", WEIGHT, "Block I/O weight, between 10 and 1000, or 0 for none",
         default=0, example="--blkio-weight 300"),
    Flag("blkio-weight-device", WEIGHTS, "Block I/O weight for one device, between 10 and 1000",
         example="--blkio-weight-device /dev/sda:300"),
    Flag("cap-add", LIST, "Add a Linux capability, or ALL", example="--cap-add NET_ADMIN"),
    Flag("cap-drop", LIST, "Drop a Linux capability, or ALL", example="--cap-drop ALL"),
    Flag("cgroup-parent", TEXT, "Control group in which to make the container's",
         example="--cgroup-parent /builds"),
    Flag("cgroupns", TEXT, "Control group namespace: host or private (default private)",
         example="--cgroupns host"),
    Flag("cidfile", TEXT, "Write the container's id to this file, which must not exist",
         example="--cidfile /run/web.cid"),
    Flag("cpu-period", NUMBER, "Length of a CPU quota period in microseconds",
         example="--cpu-period 100000"),
    Flag("cpu-quota", NUMBER, "CPU time in each period in microseconds",
         example="--cpu-quota 50000"),
    Flag("cpu-rt-period", NUMBER, "Length of a period of real-time scheduling in microseconds",
         example="--cpu-rt-period 1000000"),
    Flag("cpu-rt-runtime", NUMBER, "Real-time CPU time in each period in microseconds",
         example="--cpu-rt-runtime 950000"),
    Flag("cpu-shares", NUMBER, "CPU shares beside other containers (1024 is usual)", short="c",
         example="--cpu-shares 512"),
    Flag("cpus", CPUS, "Number of CPUs", example="--cpus 1.5"),
    Flag("cpuset-cpus", TEXT, "CPUs on which to run (0-3, 0,1)", example="--cpuset-cpus 0,1"),
    Flag("cpuset-mems", TEXT, "Memory nodes to use (0-3, 0,1)", example="--cpuset-mems 0"),
    Flag("device", LIST, "Add a device of the host, or a directory of them: HOST[:CONTAINER][:rwm]",
         example="--device /dev/fuse"),
    Flag("device-cgroup-rule", DEVICE_RULES, "Allow devices by type and numbers: 'c 13:* rwm'",
         example="--device-cgroup-rule 'c 13:* rwm'"),
    Flag("device-read-bps", RATES, "Limit reads from a device in bytes per second",
         example="--device-read-bps /dev/sda:1mb"),
    Flag("device-read-iops", OPERATIONS, "Limit reads from a device in operations per second",
         example="--device-read-iops /dev/sda:1000"),
    Flag("device-write-bps", RATES, "Limit writes to a device in bytes per second",
         example="--device-write-bps /dev/sda:1mb"),
    Flag("device-write-iops", OPERATIONS, "Limit writes to a device in operations per second",
         example="--device-write-iops /dev/sda:1000"),
    Flag("dns", ADDRESSES, "Name server in /etc/resolv.conf", example="--dns 9.9.9.9"),
    Flag("dns-option", LIST, "Option in /etc/resolv.conf", example="--dns-option ndots:2",
         aliases=("dns-opt",)),
    Flag("dns-search", DOMAINS, "Domain in which names are searched ('.' for none)",
         example="--dns-search example.org"),
    Flag("domainname", TEXT, "NIS domain name of the container", example="--domainname lab"),
    networkargs.EGRESS_FLAG,
    Flag("entrypoint", TEXT, "Program to run instead of the image's entrypoint",
         example="--entrypoint /bin/sh"),
    Flag("env", ENVIRONMENT, "Set an environment variable; NAME alone takes it from yours",
         short="e", example="-e LANG=C.UTF-8 -e TERM"),
    Flag("env-file", LIST, "Read environment variables from a file, one a line",
         example="--env-file settings.env"),
    Flag("group-add", LIST, "Add the process to a further group, a name or a number",
         example="--group-add audio"),
    Flag("expose", LIST, "Say that the container listens on a port or a range of ports: "
         "PORT[-PORT][/PROTOCOL]", example="--expose 9000/udp"),
    Flag("health-cmd", TEXT, "Command that checks the container's health, for its shell",
         example="--health-cmd 'wget -q -O /dev/null http://localhost/'"),
    Flag("health-interval", DURATION, "Time between two checks (default 30s)",
         example="--health-interval 10s"),
    Flag("health-retries", NUMBER, "Failures in a row that make the container unhealthy "
         "(default 3)", example="--health-retries 5"),
    Flag("health-start-interval", DURATION, "Time between two checks during the start period "
         "(default 5s)", example="--health-start-interval 1s"),
    Flag("health-start-period", DURATION, "Time to begin in, in which failures do not count "
         "(default 0s)", example="--health-start-period 1m"),
    Flag("health-timeout", DURATION, "Time that one check may take before it is killed "
         "(default 30s)", example="--health-timeout 5s"),
    Flag("hostname", TEXT, "Host name of the container", short="h", example="-h web"),
    Flag("init", SWITCH, "Run an init as process 1 that forwards signals and reaps processes",
         example="--init"),
    Flag("interactive", SWITCH, "Keep STDIN open", short="i", example="-i"),
    *networkargs.RUN_FLAGS[:2],
    Flag("ipc", TEXT, "IPC namespace: host, private, shareable, container:NAME for that of one "
         "that is shareable, or none for one without /dev/shm (default private)",
         example="--ipc shareable"),
    Flag("label", LABELS, "Set a label on the container", short="l", example="-l tier=web"),
    Flag("label-file", LIST, "Read labels from a file, one a line", example="--label-file labels"),
    networkargs.RUN_FLAGS[2],
    lockpin.FLAG,
    Flag("log-driver", TEXT, "Where the output goes: local, json-file, journald, syslog or none "
         "(default local, without end)", example="--log-driver journald"),
    Flag("log-opt", LIST, "Option of the log driver", example="--log-opt max-size=10m"),
    networkargs.RUN_FLAGS[3],
    Flag("memory", BYTES, "Memory limit", short="m", example="-m 256m"),
    Flag("memory-reservation", BYTES, "Memory that is kept for the container when it gets scarce",
         example="--memory-reservation 128m"),
    Flag("memory-swap", BYTES_OR_ALL, "Limit of memory and swap together: '-1' for unlimited swap",
         example="--memory-swap 512m"),
    Flag("memory-swappiness", NUMBER, "Tendency to swap, 0 to 100 (control groups "
         "v1; elsewhere discarded with a warning)",
         default=-1, example="--memory-swappiness 10"),
    Flag("mount", MOUNTS, "Mount a directory or file of the host, or a tmpfs: type=bind|tmpfs, "
         "source=HOST, target=PATH, readonly, bind-propagation=, bind-recursive=enabled|disabled|"
         "writable|readonly, tmpfs-size=, tmpfs-mode=",
         example="--mount type=bind,source=/srv/data,target=/data,readonly"),
    Flag("name", TEXT, "Name of the container", example="--name web"),
    *networkargs.RUN_FLAGS[4:],
    Flag("no-healthcheck", SWITCH, "Do not check the container's health, whatever its image says",
         example="--no-healthcheck"),
    Flag("oom-kill-disable", SWITCH, "Let processes wait instead of killing them when the memory "
         "limit is reached (control groups v1; elsewhere discarded with a warning)",
         example="--oom-kill-disable"),
    Flag("oom-score-adj", NUMBER, "How soon the kernel kills the container when memory is "
         "used up (-1000 to 1000)", default=0, example="--oom-score-adj 500"),
    Flag("pid", TEXT, "PID namespace: host, or container:NAME for another's (default its own)",
         example="--pid container:web"),
    Flag("pids-limit", NUMBER, "Limit of processes (-1 for unlimited)",
         example="--pids-limit 100"),
    Flag("platform", TEXT, "Platform to choose of an image that has several",
         example="--platform linux/arm64"),
    Flag("privileged", SWITCH, "Give all privileges to the container: it can do anything root can",
         example="--privileged"),
    Flag("publish", LIST, "Publish ports of the container at the host: "
         "[[ADDRESS:][PORT[-PORT]]:]PORT[-PORT][/tcp|udp|sctp], an IPv6 address in brackets, any "
         "free port of the host where none is given", short="p", example="-p 127.0.0.1:8080:80"),
    Flag("publish-all", SWITCH, "Publish all exposed ports at free ports of the host", short="P",
         example="-P"),
    Flag("pull", TEXT, 'Pull the image before running ("always", "missing", "never", "lazy")',
         default="missing", example="--pull never"),
    Flag("quiet", SWITCH, "Print nothing about pulling the image",
         short="q", example="-q"),
    Flag("read-only", SWITCH, "Mount the container's root file system read-only",
         example="--read-only"),
    Flag("rm", SWITCH, "Remove the container when it ends", example="--rm"),
    Flag("runtime", TEXT, "OCI runtime that makes the container: knarr, or another one's name or "
         "path (default knarr)", example="--runtime runc"),
    Flag("security-opt", LIST, "Security options: seccomp=FILE|unconfined, no-new-privileges, "
         "apparmor=PROFILE, systempaths=unconfined", example="--security-opt no-new-privileges"),
    Flag("shm-size", BYTES, "Size of /dev/shm (default 64m)", example="--shm-size 256m"),
    Flag("restart", TEXT, "Start it again when it has ended: no, on-failure[:max-retries], "
         "always, unless-stopped (default no)", example="--restart on-failure:5"),
    Flag("stop-signal", TEXT, "Signal that asks the container to stop",
         example="--stop-signal SIGINT"),
    Flag("stop-timeout", NUMBER, "Seconds that 'stop' waits before it kills",
         example="--stop-timeout 30"),
    Flag("sysctl", SYSCTLS, "Set a parameter of the kernel in the container's namespaces",
         example="--sysctl net.core.somaxconn=1024"),
    Flag("tmpfs", LIST, "Mount a tmpfs directory", example="--tmpfs /tmp:size=64m"),
    Flag("tty", SWITCH, "Give the container a terminal", short="t", example="-t"),
    Flag("ulimit", ULIMITS, "Limit of setrlimit(2): NAME=SOFT[:HARD], -1 for unlimited",
         example="--ulimit nofile=1024:2048"),
    Flag("user", TEXT, "User name or id (format: <name|uid>[:<group|gid>])", short="u",
         example="-u 1000:1000"),
    Flag("userns", TEXT, "User namespace: 'host' for none of its own", example="--userns host"),
    Flag("uts", TEXT, "UTS namespace, which has the host name: host (default its own)",
         example="--uts host"),
    Flag("volume", LIST, "Bind mount a directory or file of the host", short="v",
         example="-v /srv/data:/data:ro"),
    Flag("volumes-from", LIST, "Mount what another container has mounted: CONTAINER[:ro]",
         example="--volumes-from web:ro"),
    Flag("workdir", TEXT, "Working directory inside the container", short="w", example="-w /srv"),
)  # fmt: skip

FOREGROUND: tuple[Flag, ...] = (
    Flag("attach", STREAMS, "Attach to STDIN, STDOUT or STDERR", short="a",
         example="-a stdout -a stderr"),
    Flag("detach", SWITCH, "Run in the background and print the container's id", short="d",
         example="-d"),
    DETACH_KEYS,
    EXPLAIN,
    SIG_PROXY,
)  # fmt: skip

_NO_VOLUMES = "named volumes are not available yet; use -v HOST:CONTAINER"
_WINDOWS = "only Docker on Windows has it"

MISSING: dict[str, str] = {
    "cpu-count": _WINDOWS,
    "cpu-percent": _WINDOWS,
    "disable-content-trust": "gone from Docker",
    "gpus": "there is no driver for GPUs; give their devices with --device, such as /dev/dri",
    "io-maxbandwidth": _WINDOWS,
    "io-maxiops": _WINDOWS,
    "isolation": "only Docker on Windows has it; on Linux it can be nothing but default",
    "kernel-memory": "gone from Linux; use --memory",
    "link": "gone from Docker; use --network-alias",
    "storage-opt": "the writable layer has no quota; use --read-only and --tmpfs PATH:size=SIZE",
    "use-api-socket": "knarr has no daemon whose socket could be shared",
    "volume-driver": _NO_VOLUMES,
}
