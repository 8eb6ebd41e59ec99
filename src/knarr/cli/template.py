"""The part of Go's text/template that people use in ``--format``.

Fields, ``index``, pipelines, variables, ``if``/``else if``/``else``, ``range``,
``with``, ``break``, ``continue``, comments and trim markers. Data are plain
JSON values; a callable among a mapping's values is a method (``.Label "x"``).
Source: https://pkg.go.dev/text/template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from knarr.cli.template_functions import FUNCTIONS, text, truth

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:"
    r'(?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)'
    r"|(?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|\d+\.\d+|\d+))(?![\w.])"
    r"|(?P<field>(?:\.[^\W\d]\w*)+)"
    r"|(?P<variable>\$\w*(?:\.[^\W\d]\w*)*)"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<mark>:=|[|().,=])"
    r")"
)
_BLOCKS = ("if", "range", "with")
_NAMES = re.compile(r"[^\W\d]\w*")


class TemplateError(ValueError):
    """The template is malformed, or asks for what the data do not have."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


Scope = dict[str, Any]
Node = Callable[["_Run"], None]
Expression = Callable[["_Run"], Any]


class _Run:
    """One execution: output so far, the dot, the variables."""

    def __init__(self, data: Any) -> None:
        self.out: list[str] = []
        self.dot = data
        self.scopes: list[Scope] = [{"$": data}]

    def find(self, name: str) -> Scope:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope
        raise TemplateError(f"undefined variable {name!r}")

    def within(self, nodes: list[Node], dot: Any, scope: Scope | None = None) -> None:
        """Run ``nodes`` with another dot and a scope of their own."""
        before = self.dot
        self.dot = dot
        self.scopes.append(scope if scope is not None else {})
        try:
            for node in nodes:
                node(self)
        finally:
            self.scopes.pop()
            self.dot = before


class Template:
    """A parsed template; ``render`` may be called any number of times."""

    def __init__(self, source: str) -> None:
        """Parse ``source``. Raises TemplateError."""
        parser = _Parser(source)
        self._nodes, end = parser.block(())
        if end:
            raise TemplateError(f"template parsing error: unexpected {{{{{end}}}}}")

    def render(self, data: Any) -> str:
        """Return the text for ``data``. Raises TemplateError."""
        run = _Run(data)
        try:
            for node in self._nodes:
                node(run)
        except TemplateError:
            raise
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise TemplateError(f"template: {error}") from None
        except (_Break, _Continue):
            raise TemplateError("template: break or continue outside of range") from None
        return "".join(run.out)


def _pieces(source: str) -> Iterator[tuple[str, str]]:
    """Yield ("text", …) and ("action", …), with what trim markers cut already cut."""
    position, trim = 0, False
    for found in _ACTION.finditer(source):
        piece = source[position : found.start()]
        piece = piece.lstrip() if trim else piece
        yield "text", piece.rstrip() if found[1] else piece
        yield "action", found[2].strip()
        position, trim = found.end(), bool(found[3])
    rest = source[position:]
    if "{{" in rest:
        raise TemplateError("template parsing error: unclosed action")
    yield "text", rest.lstrip() if trim else rest


class _Parser:
    def __init__(self, source: str) -> None:
        self._pieces = _pieces(source)

    def block(self, ends: tuple[str, ...]) -> tuple[list[Node], str]:
        """Return the nodes up to ``{{end}}`` or ``{{else…}}``, and that action ("" at the end)."""
        nodes: list[Node] = []
        for kind, body in self._pieces:
            if kind == "text":
                nodes.append(_literal(body))
                continue
            word = body.split(None, 1)[0] if body else ""
            if word in ("end", "else"):
                if word not in ends:
                    raise TemplateError(f"template parsing error: unexpected {{{{{word}}}}}")
                return nodes, body
            nodes.append(self._node(word, body))
        if ends:
            raise TemplateError("template parsing error: unexpected EOF")
        return nodes, ""

    def _node(self, word: str, body: str) -> Node:
        if word.startswith("/*"):
            return _literal("")
        if word in _BLOCKS:
            return self._control(word, body[len(word) :])
        if word in ("break", "continue"):
            return _jump(word)
        if not body:
            raise TemplateError("template parsing error: missing value for command")
        names, declares, expression = _Tokens(body).statement()
        return _assign(names[0], declares, expression) if names else _show(expression)

    def _control(self, word: str, head: str) -> Node:
        names, _declares, expression = _Tokens(head).statement()
        body, end = self.block(("end", "else"))
        other: list[Node] = []
        if end.startswith("else"):
            rest = end[4:].strip()
            following = rest.split(None, 1)[0] if rest else ""
            if following in ("if", "with"):
                other = [self._control(following, rest[len(following) :])]
            else:
                other, _ = self.block(("end",))
        if word == "range":
            return _range(names, expression, body, other)
        return _choose(word, names, expression, body, other)


class _Tokens:
    """Recursive descent over the words of one action."""

    def __init__(self, body: str) -> None:
        self._words: list[tuple[str, str]] = []
        position, body = 0, body.strip()
        while position < len(body):
            found = _TOKEN.match(body, position)
            if not found:
                raise TemplateError(f"template parsing error: unexpected {body[position:]!r}")
            self._words.append((found.lastgroup or "", found[found.lastgroup or 0]))
            position = found.end()
        self._at = 0

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self._at + ahead
        return self._words[at] if at < len(self._words) else ("", "")

    def statement(self) -> tuple[list[str], bool, Expression]:
        """Return (variables, declared and not assigned, pipeline) of a whole action."""
        names: list[str] = []
        declares = False
        if self._peek()[0] == "variable":
            if self._peek(1)[1] in (":=", "="):
                names, declares = [self._peek()[1]], self._peek(1)[1] == ":="
                self._at += 2
            elif self._peek(1)[1] == "," and self._peek(3)[1] == ":=":
                names, declares = [self._peek()[1], self._peek(2)[1]], True
                self._at += 4
        expression = self._pipeline()
        if self._at < len(self._words):
            raise TemplateError(f"template parsing error: unexpected {self._peek()[1]!r}")
        return names, declares, expression

    def _pipeline(self) -> Expression:
        expression = self._command(None)
        while self._peek()[1] == "|" and self._peek()[0] == "mark":
            self._at += 1
            expression = self._command(expression)
        return expression

    def _command(self, piped: Expression | None) -> Expression:
        """Read ``function argument…``, ``.Method argument…`` or one operand."""
        kind, word = self._peek()
        if kind == "word" and word not in ("true", "false", "nil"):
            self._at += 1
            if word not in FUNCTIONS and word not in ("and", "or"):
                raise TemplateError(f'template parsing error: function "{word}" not defined')
            arguments = self._operands()
            return _call(word, [*arguments, piped] if piped else arguments)
        first = self._operand()
        if first is None:
            raise TemplateError("template parsing error: missing value for command")
        arguments = self._operands()
        if piped:
            arguments.append(piped)
        return _method(first, arguments) if arguments else first

    def _operands(self) -> list[Expression]:
        found = []
        while (operand := self._operand()) is not None:
            found.append(operand)
        return found

    def _operand(self) -> Expression | None:
        kind, word = self._peek()
        if not kind or word in ("|", ")"):
            return None
        self._at += 1
        if word == "(":
            inner = self._pipeline()
            if self._peek()[1] != ")":
                raise TemplateError("template parsing error: unclosed left paren")
            self._at += 1
            if self._peek()[0] == "field":
                self._at += 1
                return _fields(inner, self._words[self._at - 1][1])
            return inner
        if kind == "string":
            value = word[1:-1] if word[0] == "`" else json.loads(word)
            return lambda _run: value
        if kind == "number":
            number = float(word) if "." in word else int(word, 0)
            return lambda _run: number
        if kind == "field":
            return _fields(_dot, word)
        if kind == "variable":
            name, _, rest = word.partition(".")
            return _fields(_variable(name), "." + rest) if rest else _variable(name)
        if word == ".":
            return _dot
        if kind == "word" and word in ("true", "false", "nil"):
            constant = {"true": True, "false": False, "nil": None}[word]
            return lambda _run: constant
        if kind == "word" and word in FUNCTIONS:
            return _call(word, [])
        raise TemplateError(f"template parsing error: unexpected {word!r}")


def _dot(run: _Run) -> Any:
    return run.dot


def _variable(name: str) -> Expression:
    return lambda run: run.find(name)[name]


def _fields(base: Expression, chain: str) -> Expression:
    names = _NAMES.findall(chain)

    def get(run: _Run) -> Any:
        value = base(run)
        for name in names:
            value = _field(value() if callable(value) else value, name)
        return value

    return get


def _field(value: Any, name: str) -> Any:
    """Return ``value.name``; a name unknown to a mapping whose keys are like ours is an error."""
    if isinstance(value, dict):
        if name in value:
            return value[name]
        if value and all(key[:1].isupper() for key in value):
            raise TemplateError(f'template: map has no entry for key "{name}"')
        return None
    if value is None:
        raise TemplateError(f"template: nil data; no entry for key {name!r}")
    raise TemplateError(f"template: can't evaluate field {name} in type {type(value).__name__}")


def _method(function: Expression, arguments: list[Expression]) -> Expression:
    def call(run: _Run) -> Any:
        target = function(run)
        if not callable(target):
            raise TemplateError("template: can't give argument to non-function")
        return target(*[argument(run) for argument in arguments])

    return call


def _call(name: str, arguments: list[Expression]) -> Expression:
    if name in ("and", "or"):
        return _lazy(name, arguments)
    return lambda run: FUNCTIONS[name](*[argument(run) for argument in arguments])


def _lazy(name: str, arguments: list[Expression]) -> Expression:
    def call(run: _Run) -> Any:
        value = None
        for argument in arguments:
            value = argument(run)
            if truth(value) == (name == "or"):
                break
        return value

    return call


def _literal(body: str) -> Node:
    return lambda run: run.out.append(body)


def _show(expression: Expression) -> Node:
    def node(run: _Run) -> None:
        value = expression(run)
        run.out.append(text(value() if callable(value) else value))

    return node


def _assign(name: str, declares: bool, expression: Expression) -> Node:
    def node(run: _Run) -> None:
        value = expression(run)
        (run.scopes[-1] if declares else run.find(name))[name] = value

    return node


def _jump(word: str) -> Node:
    def node(_run: _Run) -> None:
        raise _Break if word == "break" else _Continue

    return node


def _choose(
    word: str, names: list[str], expression: Expression, body: list[Node], other: list[Node]
) -> Node:
    def node(run: _Run) -> None:
        value = expression(run)
        scope = dict.fromkeys(names, value)
        taken = truth(value)
        dot = value if word == "with" and taken else run.dot
        run.within(body if taken else other, dot, scope)

    return node


def _range(names: list[str], expression: Expression, body: list[Node], other: list[Node]) -> Node:
    def node(run: _Run) -> None:
        pairs = _pairs(expression(run))
        if not pairs:
            run.within(other, run.dot)
        for key, value in pairs:
            scope = dict(zip(names, (key, value) if len(names) > 1 else (value,), strict=False))
            try:
                run.within(body, value, scope)
            except _Continue:
                continue
            except _Break:
                break

    return node


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if value is None:
        return []
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(number, number) for number in range(value)]
    raise TemplateError(f"template: range can't iterate over {text(value)}")
