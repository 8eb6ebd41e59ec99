"""Apply ``CMD …``, ``ENV …`` and the like to the ``config`` part of an image config."""

from __future__ import annotations

import copy
import json
import posixpath
import re
import signal
from collections.abc import Callable, Iterable
from typing import Any

from knarr.errors import InvalidArgument
from knarr.images.changes.health import healthcheck
from knarr.images.changes.words import expand, split

_DEFAULT_SHELL = ["/bin/sh", "-c"]
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
_PAIR_NAME = re.compile(r"[^=\s]+")


def apply_changes(config: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Return a copy of ``config`` (an image config's ``config``) after the instructions.

    Knows what Docker's ``--change`` knows: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL,
    ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. Raises InvalidArgument naming the instruction.
    """
    changer = _Changer(copy.deepcopy(config))
    for change in changes:
        keyword, _, rest = change.strip().partition(" ")
        handler = _HANDLERS.get(keyword.upper())
        if handler is None:
            known = ", ".join(sorted(_HANDLERS))
            raise InvalidArgument(f"{keyword!r} is not a valid change command: use {known}")
        if not rest.strip():
            raise InvalidArgument(f"{keyword.upper()} requires at least one argument")
        handler(changer, rest.strip())
    return changer.config


class _Changer:
    """The config under change, and whether CMD was given in the same run."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self._cmd_given = False

    def cmd(self, text: str) -> None:
        self.config["Cmd"] = self._command(text)
        self._cmd_given = True

    def entrypoint(self, text: str) -> None:
        self.config["Entrypoint"] = self._command(text)
        # A command that was meant for the old entry point means nothing to the new one.
        if not self._cmd_given:
            self.config.pop("Cmd", None)

    def env(self, text: str) -> None:
        entries = list(self.config.get("Env") or ())
        for name, value in self._pairs(text, "ENV").items():
            entries = [entry for entry in entries if entry.partition("=")[0] != name]
            entries.append(f"{name}={value}")
        self.config["Env"] = entries

    def label(self, text: str) -> None:
        labels = dict(self.config.get("Labels") or {})
        self.config["Labels"] = labels | self._pairs(text, "LABEL")

    def expose(self, text: str) -> None:
        ports = dict(self.config.get("ExposedPorts") or {})
        for word in split(text):
            ports |= _ports(expand(word, self._environment()))
        self.config["ExposedPorts"] = ports

    def volume(self, text: str) -> None:
        names = _json_form(text)
        if names is None:
            names = [expand(word, self._environment()) for word in split(text)]
        if not all(name.strip() for name in names):
            raise InvalidArgument("VOLUME: a path is empty")
        self.config["Volumes"] = dict(self.config.get("Volumes") or {}) | {n: {} for n in names}

    def user(self, text: str) -> None:
        self.config["User"] = self._one(text, "USER")

    def workdir(self, text: str) -> None:
        path = expand(text, self._environment())
        joined = posixpath.join("/", str(self.config.get("WorkingDir") or "/"), path)
        # normpath keeps two leading slashes, which mean nothing on Linux.
        self.config["WorkingDir"] = "/" + posixpath.normpath(joined).lstrip("/")

    def stopsignal(self, text: str) -> None:
        value = self._one(text, "STOPSIGNAL")
        if not _is_signal(value):
            raise InvalidArgument(f"STOPSIGNAL: invalid signal {value!r}")
        self.config["StopSignal"] = value

    def healthcheck(self, text: str) -> None:
        self.config["Healthcheck"] = healthcheck(text, self._command)

    def onbuild(self, text: str) -> None:
        trigger = text.split(maxsplit=1)[0].upper()
        if trigger in ("ONBUILD", "FROM", "MAINTAINER"):
            raise InvalidArgument(f"{trigger} is not allowed as an ONBUILD trigger")
        self.config["OnBuild"] = [*(self.config.get("OnBuild") or ()), text]

    def _command(self, text: str) -> list[str]:
        exec_form = _json_form(text)
        if exec_form is not None:
            return exec_form
        return [*(self.config.get("Shell") or _DEFAULT_SHELL), text]

    def _environment(self) -> dict[str, str]:
        entries = self.config.get("Env") or ()
        return {entry.partition("=")[0]: entry.partition("=")[2] for entry in entries}

    def _one(self, text: str, keyword: str) -> str:
        words = split(text)
        if len(words) != 1:
            raise InvalidArgument(f"{keyword} requires exactly one argument")
        return expand(words[0], self._environment())

    def _pairs(self, text: str, keyword: str) -> dict[str, str]:
        environment = self._environment()
        words = split(text)
        if "=" not in words[0]:
            name, _, value = text.partition(" ")
            if not value.strip():
                raise InvalidArgument(f"{keyword} must have two arguments")
            return {expand(name, environment): expand(value.strip(), environment)}
        pairs = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or not _PAIR_NAME.match(name):
                raise InvalidArgument(f"{keyword}: syntax error near {word!r}: use NAME=VALUE")
            pairs[expand(name, environment)] = expand(value, environment)
        return pairs


def _json_form(text: str) -> list[str] | None:
    # As in Docker, what looks like the exec form but is not JSON is the shell form.
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return None


def _ports(text: str) -> dict[str, dict[str, str]]:
    match = _PORT.fullmatch(text)
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    if match is None or not 1 <= first <= last <= 65535:
        raise InvalidArgument(f"EXPOSE: invalid containerPort {text!r}: use PORT[-PORT][/PROTOCOL]")
    protocol = (match[3] or "tcp").lower()
    return {f"{port}/{protocol}": {} for port in range(first, last + 1)}


def _is_signal(value: str) -> bool:
    if value.isascii() and value.isdigit():
        return 1 <= int(value[:4]) <= signal.SIGRTMAX and len(value) < 4
    name = value.upper().removeprefix("SIG")
    if re.fullmatch(r"RTM(IN\+([0-9]|[12][0-9]|30)|AX-([0-9]|[12][0-9]|30))", name):
        return True
    return f"SIG{name}" in signal.Signals.__members__


_HANDLERS: dict[str, Callable[[_Changer, str], None]] = {
    "CMD": _Changer.cmd,
    "ENTRYPOINT": _Changer.entrypoint,
    "ENV": _Changer.env,
    "EXPOSE": _Changer.expose,
    "HEALTHCHECK": _Changer.healthcheck,
    "LABEL": _Changer.label,
    "ONBUILD": _Changer.onbuild,
    "STOPSIGNAL": _Changer.stopsignal,
    "USER": _Changer.user,
    "VOLUME": _Changer.volume,
    "WORKDIR": _Changer.workdir,
}
