"""A change of limits that the kernel refuses half-way: what was set before is put back.

Only updates need it: a new group whose limits are refused is removed.
"""

from knarr.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from knarr.cgroups.files import Write
    from knarr.cgroups.protocol import Controller

# Files with a line for each device, and what takes a line away (cgroup-v2.rst, "IO", "RDMA";
# cgroup-v1/blkio-controller.rst). Interfaces in net_prio.ifpriomap always have one.
_NOTHING = {
    "blkio.throttle.read_bps_device": "0",
    "blkio.throttle.write_bps_device": "0",
    "blkio.throttle.read_iops_device": "0",
    "blkio.throttle.write_iops_device": "0",
    "blkio.weight_device": "0",
    "blkio.bfq.weight_device": "0",
    "blkio.leaf_weight_device": "0",
    "net_prio.ifpriomap": "0",
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "rdma.max": "hca_handle=max hca_object=max",
}
# Files that a controller writes as well, or where the first is not there.
_ALSO = {
    "io.bfq.weight": ("io.weight",),
    "blkio.bfq.weight": ("blkio.weight",),
    "blkio.bfq.weight_device": ("blkio.weight_device",),
}


class Former:
    """What was set in some groups before they are changed."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[tuple[Controller, str, list[Write]]] = []

    def keep(self, controller: "Controller", directory: str, writes: "Iterable[Write]") -> None:
        """Remember what the writes of a controller are about to change. OSError if unreadable."""
        former = getattr(controller, "former", _former)
        self._kept.append((controller, directory, former(directory, writes)))

    def put_back(self) -> list[str]:
        """Set everything as it was, the last first; return the fields that stay changed."""
        left: dict[str, None] = {}
        while self._kept:
            controller, directory, writes = self._kept.pop()
            try:
                controller.apply(directory, writes, True)
            except (ValueError, OSError):
                left |= dict.fromkeys(_still_changed(controller, directory, writes))
        return list(left)


def settle(former: "Former | None", error: BaseException) -> None:
    """Put everything back after a refused update; an OSError says what stays changed.

    former: None for a new group, which its maker removes.
    """
    left = former.put_back() if former is not None else []
    if left and isinstance(error, OSError):
        error.strerror = f"{error.strerror}; {', '.join(left)} could not be put back"


def _still_changed(
    controller: "Controller", directory: str, writes: "list[Write]"
) -> "Iterator[str]":
    """Put back one by one what cannot be in one go; yield the fields that are not as they were.

    What the kernel refused once, as a device that is none, it refuses again: it never changed.
    """
    for name, value, field in writes:
        try:
            controller.apply(directory, [(name, value, field)], True)
        except (ValueError, OSError):
            now = _former(directory, [(name, value, field)])
            if now and now[0][1] != value:
                yield field


def _former(directory: str, writes: "Iterable[Write]") -> "list[Write]":
    found: dict[tuple[str, str], Write] = {}
    every = [
        (name, value, field)
        for first, value, field in writes
        for name in (first, *_ALSO.get(first, ()))
    ]
    for name, value, field in every:
        try:
            text = files.read(f"{directory}/{name}")
        except OSError as error:
            if error.errno in files.MISSING:
                continue  # what cannot be read is refused, or ignored, when it is written
            raise
        key, _, more = value.partition(" ")
        if name not in _NOTHING or not more:
            key = ""
        found.setdefault((name, key), (name, line(name, text, key), field))
    return list(found.values())


def line(name: str, text: str, key: str) -> str:
    """Return what to write into a file so that it says again what it says in ``text``. Pure.

    key: the device whose line it is about; empty in a file with one value. A file with several
    lines and no key is one whose first line's last word is the value (memory.oom_control).
    """
    lines = text.splitlines() or [""]
    if key:
        own = [one for one in lines if one.split(" ", 1)[0] == key]
        return own[0] if own else f"{key} {_NOTHING[name]}"
    if len(lines) == 1 or name in _NOTHING:
        return lines[0] or "\n"  # nothing at all would not be a write
    return lines[0].rpartition(" ")[2]
