"""What nf_tables' notifications say of a table (linux/netfilter/nf_tables.h)."""

from knarr.kernel.netlink import attrs

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NEWTABLE, _DELTABLE, _DELCHAIN, _DELRULE, _DELSET = 0, 2, 5, 8, 11
_LOSSES = tuple(_SUBSYSTEM | each for each in (_DELTABLE, _DELCHAIN, _DELRULE, _DELSET))


def begins(kind: int, body: bytes, family: int, owner: str) -> bool:
    """Tell whether a notification says that a table was made."""
    return kind == _SUBSYSTEM | _NEWTABLE and _is_of(body, family, owner)


def loses(kind: int, body: bytes, family: int, owner: str) -> bool:
    """Tell whether a notification says that something of a table was deleted, not elements."""
    return kind in _LOSSES and _is_of(body, family, owner)


def _is_of(body: bytes, family: int, owner: str) -> bool:
    return body[0] == family and attrs(body, 4).get(1) == owner.encode() + b"\0"
