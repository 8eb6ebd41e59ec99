"""How fields of an OCI spec are read, and refused."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WORD = (1 << 32) - 1


class SpecError(ValueError):
    """A field of the spec is missing or malformed; the text names it."""


def required(value: "dict[str, Any]", field: str, prefix: str = "") -> "Any":
    """Return a field; raises SpecError, with ``prefix`` before its name, where it is missing."""
    found = value.get(field)
    if found is None or found == "":
        raise SpecError(f"{prefix}{field}: is missing")
    return found


def number(value: "Any", field: str, least: int = 0, most: int = _WORD) -> int:
    """Return a number; a text in its place would be handed to the kernel by its address."""
    if type(value) is not int or not least <= value <= most:
        bounds = "of 32 bits" if most == _WORD else f"from {least} to {most}"
        raise SpecError(f"{field}: {value!r} is not a number {bounds}")
    return value


def word(value: "Any", field: str, table: "dict[str, int]") -> int:
    """Return the number that a name of a table stands for."""
    if value not in table:
        raise SpecError(f"{field}: {value!r} is not known")
    return table[value]


def words(values: "Any", field: str, table: "dict[str, int]") -> int:
    """Return the flags that a list names, in one number."""
    found = 0
    for value in values or ():
        found |= word(value, field, table)
    return found


def ids(maps: "Any", field: str) -> "tuple[tuple[int, int, int], ...]":
    """Return an id map: first id inside, first id outside, how many."""
    try:
        return tuple((entry["containerID"], entry["hostID"], entry["size"]) for entry in maps)
    except (KeyError, TypeError) as error:
        raise SpecError(f"{field}: needs containerID, hostID and size") from error
