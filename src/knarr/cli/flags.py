"""Flags of a command as a table, and the parser that reads argv by it.

The rules are those of Docker's command (spf13/pflag): ``--name value``,
``--name=value``, ``-n value``, ``-nvalue``, ``-it`` clusters, ``--flag=false``
for switches, ``--`` ends flags, and for commands that run something, the first
argument that is no flag ends them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from knarr.cli import values


class UsageError(Exception):
    """The command line is wrong; ``exit_code`` is what Docker's command ends with.

    near: what was probably meant, for a line of its own below Docker's words; "" for nothing.
    group: of verbs, whose help says what there is; "" for none.
    """

    def __init__(self, message: str, exit_code: int = 125, near: str = "", group: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.near = near
        self.group = group


class HelpAsked(Exception):
    """``--help`` stands where a flag may stand; ``group`` is the group of verbs it is about."""

    def __init__(self, group: str = "") -> None:
        super().__init__(group)
        self.group = group


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of flag value: its name in the help, how text is read, whether it repeats."""

    metavar: str
    parse: Callable[[str], Any]
    many: bool = False
    switch: bool = False

    def default(self) -> Any:
        """Return the value of a flag that was not given."""
        if self.switch:
            return False
        return () if self.many else None


SWITCH = Kind("", values.boolean, switch=True)
TEXT = Kind("string", str)
NUMBER = Kind("int", values.integer)
WEIGHT = Kind("uint16", values.weight)
BYTES = Kind("bytes", values.size)
BYTES_OR_ALL = Kind("bytes", values.size_or_unlimited)
DURATION = Kind("duration", values.duration)
CPUS = Kind("decimal", values.nano_cpus)
LIST = Kind("list", str, many=True)
ENVIRONMENT = Kind("list", values.environment, many=True)
ANNOTATIONS = Kind("map", values.annotation, many=True)
LABELS = Kind("list", values.label, many=True)
STREAMS = Kind("list", values.stream_name, many=True)
RATES = Kind("list", values.device_rate, many=True)
OPERATIONS = Kind("list", values.device_operations, many=True)
KEYS = Kind("string", values.detach_keys)


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: ``--name``, ``-short``, what it takes, what it does, an example.

    default: the value when it is not given (None: the kind's own).
    metavar: replaces the kind's word in the help.
    aliases: other long names that mean the same, not shown in the help.
    """

    name: str
    kind: Kind
    help: str
    short: str = ""
    default: Any = None
    metavar: str = ""
    example: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Return the flag as messages name it: ``-m, --memory``."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


@dataclass(frozen=True, slots=True)
class Args:
    """What a command line said: positional arguments and flag values by name."""

    rest: list[str]
    values: dict[str, Any]
    given: set[str] = field(default_factory=set)

    def on(self, name: str) -> bool:
        """Return the value of a switch."""
        return bool(self.values[name])

    def text(self, name: str) -> str | None:
        """Return the value of a text flag, None when it was not given and has no default."""
        value = self.values[name]
        return None if value is None else str(value)

    def number(self, name: str) -> int | None:
        """Return the value of a number, size or duration, None when it was not given."""
        value: int | None = self.values[name]
        return value

    def many(self, name: str) -> tuple[Any, ...]:
        """Return the values of a flag that repeats, in order."""
        return tuple(self.values[name])


class Table:
    """The flags of one command, ready for look-up; built once, when the module is imported."""

    def __init__(self, flags: Sequence[Flag], missing: dict[str, str] | None = None) -> None:
        self.flags = tuple(flags)
        self.missing = missing or {}
        self._long = {flag.name: flag for flag in flags}
        self._long.update({alias: flag for flag in flags for alias in flag.aliases})
        self._short = {flag.short: flag for flag in flags if flag.short}

    def find(self, word: str) -> Flag | None:
        """Return the flag that ``--name`` or ``-n`` is, None for what is none."""
        return self._long.get(word[2:]) if word.startswith("--") else self._short.get(word[1:])

    def wanting(self, word: str) -> Flag | None:
        """Return the flag in a word of flags that takes the next word as its value, if one does."""
        if word.startswith("--"):
            flag = self._long.get(word[2:])
            return None if flag is None or flag.kind.switch else flag
        for position, letter in enumerate(word[1:], 2):
            flag = self._short.get(letter)
            if flag is None:
                return None
            if not flag.kind.switch:
                return flag if position == len(word) else None
        return None

    def parse(self, argv: Sequence[str], *, interspersed: bool = True) -> Args:
        """Return what ``argv`` says. Raises UsageError.

        Raises HelpAsked for ``--help`` (and ``-h``, unless that is a flag here).
        interspersed: flags may also follow the first argument that is none.
        """
        args = Args([], {f.name: f.default if f.default is not None else f.kind.default()
                         for f in self.flags})  # fmt: skip
        words = list(argv)
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word == "--":
                args.rest.extend(words[position:])
                break
            if len(word) < 2 or word[0] != "-":
                args.rest.append(word)
                if not interspersed:
                    args.rest.extend(words[position:])
                    break
            elif word.startswith("--"):
                position = self._read_long(args, words, position)
            else:
                position = self._read_cluster(args, words, position)
        return args

    def _read_long(self, args: Args, words: list[str], position: int) -> int:
        name, equals, value = words[position - 1][2:].partition("=")
        flag = self._long.get(name)
        if flag is None:
            raise self._unknown(name)
        if equals:
            self._set(args, flag, value)
        elif flag.kind.switch:
            self._set(args, flag, "true")
        elif position < len(words):
            self._set(args, flag, words[position])
            position += 1
        else:
            raise UsageError(f"flag needs an argument: --{name}")
        return position

    def _read_cluster(self, args: Args, words: list[str], position: int) -> int:
        """Read ``-it``, ``-eA=b``, ``-e A=b``, ``-e=A=b``."""
        letters = words[position - 1][1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            flag = self._short.get(letter)
            if flag is None:
                raise self._unknown_short(letter, words[position - 1])
            if letters.startswith("="):
                self._set(args, flag, letters[1:])
                break
            if flag.kind.switch:
                self._set(args, flag, "true")
                continue
            if letters:
                self._set(args, flag, letters)
            elif position < len(words):
                self._set(args, flag, words[position])
                position += 1
            else:
                raise UsageError(f"flag needs an argument: {letter!r} in {words[position - 1]}")
            break
        return position

    def _set(self, args: Args, flag: Flag, text: str) -> None:
        try:
            value = flag.kind.parse(text)
        except ValueError as error:
            raise UsageError(
                f'invalid argument "{text}" for "{flag.label}" flag: {error}'
            ) from None
        if flag.kind.many:
            before = args.values[flag.name] if flag.name in args.given else ()
            value = (*before, value)
        args.values[flag.name] = value
        args.given.add(flag.name)

    def _unknown(self, name: str) -> Exception:
        if name == "help":
            return HelpAsked()
        if name in self.missing:
            return UsageError(f"--{name}: {self.missing[name]}")
        near = nearest(name, [*self._long, *self.missing])
        return UsageError(f"unknown flag: --{name}", near=f"--{near}" if near else "")

    def _unknown_short(self, letter: str, word: str) -> Exception:
        if letter == "h":
            return HelpAsked()
        if letter in self.missing:
            return UsageError(f"-{letter}: {self.missing[letter]}")
        return UsageError(f"unknown shorthand flag: {letter!r} in {word}")


def nearest(word: str, known: Sequence[str]) -> str:
    """Return the entry of ``known`` that ``word`` is probably meant to be, "" when none is near."""
    import difflib

    word = word.lower()
    for one in known:
        if sorted(one) == sorted(word):
            return one  # letters in another order: "strat" is start rather than stats
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return found[0] if found else ""
