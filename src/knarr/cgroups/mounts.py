"""Which hierarchies are mounted where: /proc/self/mountinfo (proc_pid_mountinfo(5)). Pure."""

V1_CONTROLLERS = frozenset(
    (
        "cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "devices", "freezer",
        "hugetlb", "net_cls", "net_prio", "rdma", "perf_event", "misc",
    )
)  # fmt: skip


class Hierarchy:
    """One mounted hierarchy.

    mount_point: where its root (as this mount shows it) is. version: 1 or 2.
    controllers: their names; a named v1 hierarchy has ``name=NAME``; empty for v2, where
    the file ``cgroup.controllers`` says it.
    """

    __slots__ = ("controllers", "mount_point", "version")

    def __init__(self, mount_point: str, version: int, controllers: tuple[str, ...]) -> None:
        self.mount_point = mount_point
        self.version = version
        self.controllers = controllers


def parse(mountinfo: str) -> list[Hierarchy]:
    """Return the hierarchies in a mountinfo text, one mount of each.

    Of several mounts of one hierarchy the one is taken that is writable and shows its
    root, then the first: an absolute cgroup path counts from there. v2 comes last. One that
    another mount lies upon cannot be reached, and does not count.
    """
    covered = _covered(mountinfo)
    best: dict[tuple[int, tuple[str, ...]], tuple[tuple[bool, bool], Hierarchy]] = {}
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(kind) < 3 or not kind[0].startswith("cgroup"):
            continue
        version = 2 if kind[0] == "cgroup2" else 1
        options = kind[2].split(",")
        names = () if version == 2 else _controllers(options)
        if (version == 1 and not names) or fields[0] in covered:
            continue
        rank = ("rw" in fields[5].split(",") and "rw" in options, fields[3] == "/")
        known = best.get((version, names))
        if known is None or rank > known[0]:
            best[version, names] = (rank, Hierarchy(unescape(fields[4]), version, names))
    return sorted((one for _, one in best.values()), key=_version)


def _covered(mountinfo: str) -> set[str]:
    """Return the numbers of mounts upon which, at the same place, another one lies."""
    mounts = [fields for line in mountinfo.splitlines() if len(fields := line.split(" ", 5)) > 5]
    places = {fields[0]: fields[4] for fields in mounts}
    return {fields[1] for fields in mounts if places.get(fields[1]) == fields[4]}


def _version(hierarchy: Hierarchy) -> int:
    return hierarchy.version


def _controllers(options: list[str]) -> tuple[str, ...]:
    return tuple(one for one in options if one in V1_CONTROLLERS or one.startswith("name="))


def whole(mountinfo: str, kinds: "tuple[str, ...]") -> list[str]:
    """Return where file systems of these kinds are mounted as a whole, in the order of the text."""
    found = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) > 4 and fields[3] == "/" and right.split(" ", 1)[0] in kinds:
            found.append(unescape(fields[4]))
    return found


def unescape(path: str) -> str:
    """Return a path of mountinfo with its octal escapes (a space is 040) resolved."""
    if "\\" not in path:
        return path
    head, *rest = path.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
