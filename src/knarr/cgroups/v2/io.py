"""Block devices: io.weight, io.bfq.weight, io.max, io.stat (cgroup-v2.rst, "IO")."""

from knarr.cgroups import convert, files, values
from knarr.cgroups.errors import UnsupportedResource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from knarr.cgroups.accounting import Figure
    from knarr.cgroups.files import Write

CONTROLLER = "io"
THROTTLES = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}


def plan(resources: "Mapping[str, Any]") -> "list[Write]":
    """Return the writes for ``blockIO``; ValueError for bad values.

    Weights stay as OCI has them (10 to 1000) and are planned for BFQ, which takes them
    so; ``apply`` gives the other scheduler its own range.
    """
    block = values.section(resources, "blockIO")
    if not block:
        return []
    writes = []
    if values.integer(block, "blockIO.", "leafWeight", low=0):
        raise UnsupportedResource("blockIO.leafWeight", "no kernel of today has it")
    if weight := values.integer(block, "blockIO.", "weight", low=0, high=1000):
        writes.append(("io.bfq.weight", _weight(weight, "blockIO.weight"), "blockIO.weight"))
    for index, entry in enumerate(values.items(block, "blockIO.", "weightDevice")):
        where = f"blockIO.weightDevice[{index}]."
        number = values.device(entry, where)
        if weight := values.integer(entry, where, "weight", low=0, high=1000):
            value = f"{number} {_weight(weight, where + 'weight')}"
            writes.append(("io.bfq.weight", value, "blockIO.weightDevice"))
    for name, key in THROTTLES.items():
        for index, entry in enumerate(values.items(block, "blockIO.", name)):
            where = f"blockIO.{name}[{index}]."
            rate = values.integer(entry, where, "rate", low=0) or "max"
            writes.append(("io.max", f"{values.device(entry, where)} {key}={rate}", where[:-1]))
    return writes


def _weight(weight: int, where: str) -> str:
    if weight < 10:
        raise ValueError(f"{where}: {weight} is not in the range 10 to 1000")
    return str(weight)


def apply(directory: str, writes: "Iterable[Write]", update: bool = False) -> None:
    """Carry out the writes; raises as ``files.carry_out``.

    A weight goes to each I/O scheduler that has a file for it (BFQ, iocost): each looks
    only at its own devices. UnsupportedResource when there is none.
    """
    del update
    for name, value, field in writes:
        head, _, weight = value.rpartition(" ")
        if name != "io.bfq.weight" or not weight.isdecimal():
            files.carry_out(directory, ((name, value, field),))
            continue
        cost = f"{head or 'default'} {convert.blkio_weight(int(weight))}"
        done = [_try(directory, name, value, field), _try(directory, "io.weight", cost, field)]
        if not any(done):
            raise UnsupportedResource(field, "no I/O scheduler with weights (BFQ, iocost) is there")


def _try(directory: str, name: str, value: str, field: str) -> bool:
    try:
        files.carry_out(directory, ((name, value, field),))
    except UnsupportedResource:
        return False
    return True


FIGURES: "tuple[Figure, ...]" = (
    ("io_read_bytes", "io.stat", b"rbytes=", 1),
    ("io_write_bytes", "io.stat", b"wbytes=", 1),
    ("io_read_ops", "io.stat", b"rios=", 1),
    ("io_write_ops", "io.stat", b"wios=", 1),
)
