"""The images that a Dockerfile names: bases of its stages, and what it copies or mounts from.

Only so much of the format is read as that takes: directives, continued lines, comments, here-
documents, ``ARG`` before the first ``FROM``. Names of earlier stages and ``scratch`` are no images.
Source: "Dockerfile reference" of Docker's documentation.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from knarr.errors import InvalidArgument
from knarr.images.lockfile import variables
from knarr.images.platform import Platform, host

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.*?)\s*")
_HEREDOC = re.compile(r"<<(-?)([\"']?)([A-Za-z0-9_.]+)\2")
_ASSIGNMENT = re.compile(
    r"([A-Za-z_][A-Za-z0-9_]*)(?:=(\"(?:[^\"\\]|\\.)*\"|'[^']*'|\S*))?(?:\s+|$)"
)
_FROM_MOUNT = re.compile(r"--mount=(\S+)")
_LIMIT = 4 * 1024 * 1024
_FROM_COPY = re.compile(r"--from=(\S+)")


def images(text: str, arguments: Mapping[str, str], platform: Platform | None = None) -> list[str]:
    """Return the names of images, as they stand and in order, each once.

    arguments: of ``--build-arg``; platform: what is built for, None for this machine.
    Raises InvalidArgument with the number of the line.
    """
    # Not splitlines: what looks like the end of a line to Unicode is none to Docker.
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    escape = _escape(lines)
    reader = _Dockerfile(arguments, platform or host(), escape)
    for number, instruction, rest in _instructions(lines, escape):
        try:
            reader.take(instruction, rest)
        except InvalidArgument as error:
            raise InvalidArgument(f"line {number}: {instruction} {rest[:80]}: {error}") from None
    if not reader.has_stage:
        raise InvalidArgument("there is no FROM line")
    return list(dict.fromkeys(reader.found))


class _Dockerfile:
    def __init__(self, arguments: Mapping[str, str], platform: Platform, escape: str) -> None:
        self._escape = escape
        self._given = arguments
        self._values = {**_predefined(platform), **_proxies(arguments)}
        self._stages: set[str] = set()
        self._count = 0
        self._size = 0
        self.found: list[str] = []

    @property
    def has_stage(self) -> bool:
        """Whether there was a FROM."""
        return self._count > 0

    def take(self, instruction: str, rest: str) -> None:
        """Take one instruction, without its continuation signs."""
        if instruction == "ARG" and not self.has_stage:
            self._arguments(rest)
        elif instruction == "FROM":
            self._base(rest)
        elif instruction == "COPY":
            for word in _flags(rest):
                if match := _FROM_COPY.fullmatch(word):
                    self._other(match[1])
        elif instruction == "RUN":
            for word in _flags(rest):
                if match := _FROM_MOUNT.fullmatch(word):
                    self._mount(match[1])

    def _arguments(self, rest: str) -> None:
        at = 0
        while at < len(rest):
            match = _ASSIGNMENT.match(rest, at)
            if match is None:
                raise InvalidArgument("an argument has no name")
            at = match.end()
            name, value = match[1], match[2]
            if name in self._given:
                self._values[name] = self._given[name]
            elif value is not None:
                literal = value[:1] == "'"
                bare = value[1:-1] if value[:1] in ("'", '"') else value
                self._values[name] = bare if literal else self._expanded(bare)
                self._size += len(self._values[name])
                if self._size > _LIMIT:
                    raise InvalidArgument(f"the arguments are longer than {_LIMIT} characters")

    def _base(self, rest: str) -> None:
        words = rest.split()
        while words and words[0].startswith("--"):
            words.pop(0)
        if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
            raise InvalidArgument("FROM takes an image, and perhaps AS and a name")
        name = self._expanded(words[0].strip("\"'"))
        if not name:
            raise InvalidArgument("the name of the image is empty")
        if name.lower() not in self._stages and name != "scratch":
            self.found.append(name)
        self._count += 1
        if len(words) == 3:
            self._stages.add(words[2].lower())

    def _mount(self, options: str) -> None:
        for option in options.split(","):
            key, _, value = option.partition("=")
            if key == "from" and value:
                self._other(value)

    def _other(self, name: str) -> None:
        """Take what COPY or RUN has files from: a stage, by name or number, or an image."""
        name = name.strip("\"'")
        if name.isdigit() or name.lower() in self._stages or name == "scratch" or "$" in name:
            return  # variables are not replaced there
        self.found.append(name)

    def _expanded(self, text: str) -> str:
        return variables.substitute(text, self._values, escape=self._escape)


def _predefined(platform: Platform) -> dict[str, str]:
    machine = host()
    values = {}
    for prefix, each in (("TARGET", platform), ("BUILD", machine)):
        values[f"{prefix}PLATFORM"] = str(each)
        values[f"{prefix}OS"] = each.os
        values[f"{prefix}ARCH"] = each.architecture
        values[f"{prefix}VARIANT"] = each.variant
    return values


def _proxies(arguments: Mapping[str, str]) -> dict[str, str]:
    known = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
    return {name: value for name, value in arguments.items() if name.lower() in known}


def _flags(rest: str) -> list[str]:
    """Return the words that an instruction begins with and that are flags."""
    return list(itertools.takewhile(lambda word: word.startswith("--"), rest.split()))


def _instructions(lines: list[str], escape: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, instruction in capitals, what follows) without comments."""
    at = 0
    while at < len(lines):
        number, joined = at + 1, lines[at].strip()
        at += 1
        if not joined or joined.startswith("#"):
            continue
        parts = [joined]
        while parts[-1].endswith(escape) and at < len(lines):
            following = lines[at].rstrip()
            at += 1
            # Comments and empty lines do not end what goes on.
            if following and not following.lstrip().startswith("#"):
                parts[-1] = parts[-1].removesuffix(escape)
                parts.append(following)
        joined = "".join(parts).removesuffix(escape)
        word, *more = joined.split(None, 1)
        instruction, rest = word.upper(), more[0] if more else ""
        if instruction in ("RUN", "COPY", "ADD"):
            at = _after_documents(lines, at, rest)
        yield number, instruction, rest.strip()


def _after_documents(lines: list[str], at: int, rest: str) -> int:
    """Return where the here-documents end that an instruction begins."""
    for match in _HEREDOC.finditer(rest):
        for end in range(at, len(lines)):
            line = lines[end].lstrip("\t") if match[1] else lines[end]
            if line == match[3]:
                at = end + 1
                break
    return at


def _escape(lines: list[str]) -> str:
    for line in lines:
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            break
        if match[1].lower() == "escape" and match[2] in ("\\", "`"):
            return match[2]
    return "\\"
