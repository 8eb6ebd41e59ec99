"""Words of a Dockerfile instruction: blanks, quotes, backslashes and ``$VARIABLES``.

Rules of the Dockerfile reference, "Environment replacement": ``$NAME``, ``${NAME}``,
``${NAME:-word}`` and ``${NAME:+word}``; single quotes keep everything as it is, in
double quotes a backslash quotes only ``"``, ``$`` and itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from knarr.errors import InvalidArgument

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANK = " \t\r\n"


def split(text: str) -> list[str]:
    """Return the words of ``text``, still quoted; blanks inside quotes do not separate."""
    words: list[str] = []
    word, quote, i = "", "", 0
    while i < len(text):
        char = text[i]
        if char == "\\" and quote != "'" and i + 1 < len(text):
            word += text[i : i + 2]
            i += 2
            continue
        if quote:
            quote = "" if char == quote else quote
            word += char
        elif char in _BLANK:
            if word:
                words.append(word)
            word = ""
        else:
            quote = char if char in "'\"" else ""
            word += char
        i += 1
    if quote:
        raise InvalidArgument(f"invalid change {text!r}: a quote {quote} is not closed")
    return words + [word] if word else words


def expand(word: str, env: Mapping[str, str]) -> str:
    """Return the word without quotes and with variables replaced by their values in ``env``.

    Raises InvalidArgument for an unclosed quote or brace.
    """
    return _Expander(word, env).run()


class _Expander:
    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        self._text = text
        self._env = env
        self._at = 0

    def run(self) -> str:
        out = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == "'":
                out += self._single()
            elif char == '"':
                out += self._double()
            elif char == "\\":
                self._at += 2
                out += self._text[self._at - 1 : self._at] or "\\"
            elif char == "$":
                out += self._variable()
            else:
                out += char
                self._at += 1
        return out

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._unclosed("'")
        value = self._text[self._at + 1 : end]
        self._at = end + 1
        return value

    def _double(self) -> str:
        out = ""
        self._at += 1
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == '"':
                self._at += 1
                return out
            if char == "$":
                out += self._variable()
                continue
            if char == "\\" and self._text[self._at + 1 : self._at + 2] in ('"', "$", "\\"):
                self._at += 1
                char = self._text[self._at]
            out += char
            self._at += 1
        raise self._unclosed('"')

    def _variable(self) -> str:
        self._at += 1
        if self._text[self._at : self._at + 1] == "{":
            return self._braced()
        match = _NAME.match(self._text, self._at)
        if match is None:
            return "$"
        self._at = match.end()
        return self._env.get(match[0], "")

    def _braced(self) -> str:
        match = _NAME.match(self._text, self._at + 1)
        end = self._text.find("}", self._at)
        if match is None or end < 0:
            raise self._unclosed("${")
        name, rest = match[0], self._text[match.end() : end]
        self._at = end + 1
        value = self._env.get(name, "")
        if not rest:
            return value
        if rest[:2] == ":-":
            return value or expand(rest[2:], self._env)
        if rest[:2] == ":+":
            return expand(rest[2:], self._env) if value else ""
        raise InvalidArgument(f"invalid change: unsupported modifier {rest[:2]!r} in ${{{name}…}}")

    def _unclosed(self, what: str) -> InvalidArgument:
        return InvalidArgument(f"invalid change: {what} is not closed in {self._text!r}")
