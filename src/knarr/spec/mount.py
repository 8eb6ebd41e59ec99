"""``Mount``: the value that joins snapshots, volumes, engine and runtime.

As in containerd, whoever prepares a file system returns mounts and whoever
needs it carries them out; neither calls the other. The attributes are those of
one ``mounts[]`` entry of the OCI runtime spec (config.md, "Mounts"), so that
a Mount can stand in a spec as it is.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Mount:
    """One mount to make: file system type, source and options.

    For ``type="overlay"`` the source is a directory that holds all layers and
    the options are ``lower=REL`` (topmost first, repeated), ``upper=REL`` and
    ``work=REL``, each relative to source, so that one descriptor of source
    (idmapped or not) serves every layer and names stay short for mount(2).
    Without ``upper`` the overlay is read-only. ``volatile`` skips syncs.
    ``lower=REL:PLACE`` is a layer that is kept as an image: REL holds its files, and it is
    mounted at the absolute PLACE once for all containers, by the first that needs it.
    ``type="erofs"`` is one such layer alone: source holds its files, the option is ``at=PLACE``.
    For ``type="bind"`` the source is the directory itself, ``rbind`` takes along what is
    mounted below, ``ro`` makes it read-only.
    """

    __slots__ = ("destination", "options", "source", "type")

    def __init__(
        self, type: str, source: str, options: "tuple[str, ...]" = (), destination: str = "/"
    ) -> None:
        self.type = type
        self.source = source
        self.options = tuple(options)
        self.destination = destination

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mount) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.type, self.source, self.options, self.destination))

    def __repr__(self) -> str:
        return f"Mount({self.type!r}, {self.source!r}, {self.options!r}, {self.destination!r})"

    def to_dict(self) -> "dict[str, Any]":
        """Return the mount as an OCI ``mounts[]`` entry, ready for JSON."""
        return {
            "destination": self.destination,
            "type": self.type,
            "source": self.source,
            "options": list(self.options),
        }

    @classmethod
    def from_dict(cls, value: "Mapping[str, Any]") -> "Mount":
        """Return the Mount that ``to_dict`` described. Raises KeyError on a missing field."""
        return cls(
            value["type"], value["source"], tuple(value.get("options") or ()), value["destination"]
        )
