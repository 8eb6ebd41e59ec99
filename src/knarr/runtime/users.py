"""Who the container's process is: ``USER`` and ``--user`` against /etc/passwd and /etc/group.

The files come from an image, so they are hostile: numbers out of range and
malformed lines never become an id, and a text of digits is never looked up as
a name (an image could otherwise turn ``USER 1000`` into root).
"""

from knarr.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_ID = 2**31 - 1
_RANGE = f"uids and gids must be in range 0-{MAX_ID}"


class ResolvedUser:
    """Ids inside the container; additional_gids has the primary group first, home is a path."""

    __slots__ = ("additional_gids", "gid", "home", "uid")

    def __init__(
        self,
        uid: int = 0,
        gid: int = 0,
        additional_gids: "tuple[int, ...]" = (0,),
        home: str = "/",
    ) -> None:
        self.uid = uid
        self.gid = gid
        self.additional_gids = additional_gids
        self.home = home

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResolvedUser) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"ResolvedUser{self._key()}"

    def _key(self) -> "tuple[int, int, tuple[int, ...], str]":
        return self.uid, self.gid, self.additional_gids, self.home


def resolve_user(
    spec: str, passwd: bytes, group: bytes, group_add: "Sequence[str]" = ()
) -> ResolvedUser:
    """Return the ids that ``spec`` means in a container with these two files.

    Forms: "" (uid 0), ``name``, ``uid``, ``name:group``, ``uid:gid``, ``name:gid``,
    ``uid:group``; a number needs no entry. ``group_add`` are further groups, names or
    numbers. Without an explicit group the supplementary groups of the user's name count.
    Raises InvalidArgument for unknown names and for numbers beyond 2**31-1.
    """
    user_part, has_group, group_part = spec.partition(":")
    if ":" in group_part:
        raise InvalidArgument(f"invalid user {spec!r}: use USER or USER:GROUP")
    uid = _number(user_part)
    entry = _find_user(passwd, user_part, uid)
    if entry is None and user_part and uid is None:
        raise InvalidArgument(
            f"unable to find user {user_part}: no matching entries in passwd file"
        )
    name, uid, gid, home = entry or ("", uid or 0, 0, "/")
    gids: list[int] = []
    if has_group and group_part:
        gid = _find_group(group, group_part)
    elif name:
        gids = [number for _, number, members in _groups(group) if name in members]
    gids += [_find_group(group, wanted) for wanted in group_add]
    return ResolvedUser(uid, gid, tuple(dict.fromkeys((gid, *gids))), home or "/")


def home_of(uid: int, passwd: bytes) -> str:
    """Return the home directory of an id, the root for one without an entry."""
    entry = _find_user(passwd, str(uid), uid)
    return "/" if entry is None else entry[3]


def _number(text: str) -> "int | None":
    """Return ``text`` as an id, None when it is a name; raises when out of range."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    if text[0] == "-" and digits.strip("0"):
        raise InvalidArgument(f"invalid id {text!r}: {_RANGE}")
    significant = digits.lstrip("0")
    if len(significant) > len(str(MAX_ID)) or int(significant or "0") > MAX_ID:
        raise InvalidArgument(f"invalid id {text!r}: {_RANGE}")
    return int(significant or "0")


def _find_user(passwd: bytes, name: str, uid: "int | None") -> "tuple[str, int, int, str] | None":
    """Return name, uid, gid and home of the first matching line (passwd(5))."""
    wanted = 0 if not name else uid
    for fields in _lines(passwd):
        if len(fields) < 4:
            continue
        entry_uid, entry_gid = _file_id(fields[2]), _file_id(fields[3])
        if entry_uid is None or entry_gid is None:
            continue
        if (fields[0] == name) if wanted is None else (entry_uid == wanted):
            home = fields[5] if len(fields) > 5 and fields[5].startswith("/") else "/"
            return fields[0], entry_uid, entry_gid, home
    return None


def _find_group(group: bytes, wanted: str) -> int:
    """Return the id of a group given by name or number."""
    number = _number(wanted)
    if number is not None:
        return number
    for name, gid, _ in _groups(group):
        if name == wanted:
            return gid
    raise InvalidArgument(f"unable to find group {wanted}: no matching entries in group file")


def _groups(group: bytes) -> "Iterator[tuple[str, int, list[str]]]":
    """Yield name, gid and members of each valid line (group(5))."""
    for fields in _lines(group):
        gid = _file_id(fields[2]) if len(fields) > 2 else None
        if gid is not None:
            yield fields[0], gid, fields[3].split(",") if len(fields) > 3 else []


def _lines(data: bytes) -> "Iterator[list[str]]":
    for raw in data.split(b"\n"):
        line = raw.strip()
        if line and not line.startswith(b"#"):
            yield line.decode("utf-8", "surrogateescape").split(":")


def _file_id(text: str) -> "int | None":
    """Return an id from a file of the image; None makes the line no entry at all."""
    try:
        return _number(text)
    except InvalidArgument:
        return None
