"""Command lines as runc takes them: flags with one dash or two, before or between the words."""

from knarr.oci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    # name -> whether a value follows
    Flags = dict[str, bool]

_YES = ("", "true", "1")
_NO = ("false", "0")


class Words:
    """What a command line said: values by flag, and the words that are none."""

    __slots__ = ("_all", "_flags", "words")

    def __init__(self, flags: "list[tuple[str, str]]", words: "list[str]") -> None:
        self._all = flags
        self._flags = dict(flags)
        self.words = words

    def given(self, name: str) -> bool:
        """Return whether a flag was said at all."""
        return name in self._flags

    def texts(self, name: str) -> "list[str]":
        """Return all values of a flag that may be said more than once, in their order."""
        return [value for flag, value in self._all if flag == name]

    def text(self, name: str, default: str = "") -> str:
        """Return the value of a flag, the last one."""
        return self._flags.get(name, default)

    def has(self, name: str) -> bool:
        """Return whether a flag without a value was given; raises UsageError for another value."""
        if name not in self._flags:
            return False
        value = self._flags[name]
        if value not in _YES and value not in _NO:
            raise UsageError(f"--{name}: {value!r} is not true or false")
        return value in _YES

    def number(self, name: str) -> int:
        """Return the value of a flag as a number from 0 on, 0 without it; raises UsageError."""
        value = self._flags.get(name, "0")
        if not (value.isascii() and value.isdecimal()) or len(value) > 9:
            raise UsageError(f"--{name}: {value!r} is not a number")
        return int(value)

    def choice(self, name: str, *choices: str) -> str:
        """Return a value out of a few, the first without the flag; raises UsageError."""
        value = self._flags.get(name, choices[0])
        if value not in choices:
            raise UsageError(f"--{name}: {value!r} is none of {', '.join(choices)}")
        return value

    def one(self, what: str) -> str:
        """Return the only word; raises UsageError."""
        if len(self.words) != 1:
            raise UsageError(f"expected {what}, got {len(self.words)} words")
        return self.words[0]


def parse(
    words: "Sequence[str]",
    flags: "Flags",
    short: "dict[str, str] | None" = None,
    *,
    first: bool = False,
) -> Words:
    """Return what a command line says; raises UsageError.

    short: names of one letter. first: everything from the first word on is for somebody else.
    """
    found: list[tuple[str, str]] = []
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return Words(found, rest + left)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if first:
                return Words(found, rest + left)
            continue
        name, mark, value = word.lstrip("-").partition("=")
        name = (short or {}).get(name, name)
        if name not in flags:
            raise UsageError(f"{word}: there is no such flag")
        if flags[name] and not mark:
            if not left:
                raise UsageError(f"--{name}: needs a value")
            value = left.pop(0)
        found.append((name, value))
    return Words(found, rest)
