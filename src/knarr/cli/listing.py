"""Listings: tables, templates, JSON lines and bare ids from the same rows.

A row maps Docker's field names (``ID``, ``Names``) to what is printed; a
callable value is a method of the template (``.Label "name"``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.cli.exitcodes import BadTemplate
from knarr.cli.flags import TEXT, Flag
from knarr.cli.template import Template, TemplateError
from knarr.errors import InvalidArgument

Row = Mapping[str, Any]
_JSON = re.compile(r"\{\{(?:- )?\s*json\s+\.\s*(?: -)?\}\}")
_NARROWEST = 10
_GAP = 3

FORMAT = Flag(
    "format",
    TEXT,
    "Format output using a custom template: 'table' (with column headers), 'table TEMPLATE', "
    "'json' (one object a line) or 'TEMPLATE' (a Go template)",
    example="--format '{{.ID}} {{.Names}}'",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of object is listed: the heading of each field, and the usual columns."""

    headings: Mapping[str, str]
    columns: tuple[str, ...]
    quiet: str = "ID"


def show(rows: Sequence[Row], layout: Layout, format: str | None, *, quiet: bool = False) -> str:
    """Return the whole output for ``rows``. Raises InvalidArgument for a bad template.

    format: None, ``table``, ``table TEMPLATE``, ``json`` or a template.
    quiet: only the identifying field, when no format says otherwise.
    """
    if format is None or format in ("", "table"):
        if quiet:
            return "".join(f"{row[layout.quiet]}\n" for row in rows)
        return _plain_table(rows, layout)
    if is_json(format):
        return "".join(_json_line(row) for row in rows)
    try:
        if format.startswith("table "):
            return _template_table(rows, layout, unescape(format[6:].strip()))
        template = Template(unescape(format))
        return "".join(template.render(row) + "\n" for row in rows)
    except TemplateError as error:
        raise InvalidArgument(f"--format: {error}") from None


def show_one(value: Any, format: str | None) -> str:
    """Return one object by a template or ``json``. Raises BadTemplate, InvalidArgument."""
    if is_json(format):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"
    try:
        template = Template(unescape(format or ""))
    except TemplateError as error:
        raise BadTemplate(f"--format: {error}") from None
    try:
        return template.render(value) + "\n"
    except TemplateError as error:
        raise InvalidArgument(f"--format: {error}") from None


def format_of_one(example: str) -> Flag:
    """Return ``--format`` for a command that prints one object."""
    return Flag(
        "format",
        TEXT,
        "Format output using a custom template: 'json' or 'TEMPLATE' (a Go template)",
        short="f",
        example=example,
    )


def facts(found: Row, lines: Sequence[tuple[str, str]], width: int = 0) -> str:
    """Return a line ``words: value`` for each (field, words); fields not found are left out."""
    return "".join(
        f"{words + ':':<{width}} {found[field]}\n" for field, words in lines if field in found
    )


def is_json(format: str | None) -> bool:
    """Return whether a format is ``json``, or the template that this is short for in Docker."""
    return format is not None and (format == "json" or _JSON.fullmatch(format) is not None)


def unescape(format: str) -> str:
    r"""Return ``format`` with ``\t`` and ``\n`` as a tab and a newline."""
    return format.replace("\\t", "\t").replace("\\n", "\n")


def _json_line(row: Row) -> str:
    plain = {key: value for key, value in sorted(row.items()) if not callable(value)}
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False) + "\n"


def _plain_table(rows: Sequence[Row], layout: Layout) -> str:
    lines = [[layout.headings[name] for name in layout.columns]]
    lines += [[str(row[name]) for name in layout.columns] for row in rows]
    return align(lines)


def _template_table(rows: Sequence[Row], layout: Layout, source: str) -> str:
    template = Template(source)
    head: dict[str, Any] = {**layout.headings, "Label": lambda name: name.rpartition(".")[2]}
    rendered = [template.render(row) for row in (head, *rows)]
    return align([line.split("\t") for line in rendered])


def align(lines: Sequence[Sequence[str]], narrowest: int = _NARROWEST) -> str:
    """Return cells in columns, at least so wide and three apart; the last one is not padded."""
    widths: list[int] = []
    for line in lines:
        for column, cell in enumerate(line[:-1]):
            if column == len(widths):
                widths.append(narrowest - _GAP)
            widths[column] = max(widths[column], len(cell))
    return "".join(
        "".join(cell.ljust(width + _GAP) for cell, width in zip(line[:-1], widths, strict=False))
        + (line[-1] if line else "")
        + "\n"
        for line in lines
    )
