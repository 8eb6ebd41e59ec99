"""Hold the sizes that keep the sources readable; part of ``make check``.

A file has at most 600 lines and is expected to stay under 400; a function has
at most 60. Tables (files that are mostly one literal) may be longer: they say
so by a first-line comment or docstring that contains the word "table".
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_SOFT = 400
FILE_HARD = 600
FUNCTION_HARD = 60


def functions(tree: ast.AST) -> Iterator[tuple[str, int, int]]:
    """Yield (name, line, length without the docstring) of every function."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.lineno
        length = (node.end_lineno or first) - first + 1
        if ast.get_docstring(node) is not None:
            docstring = node.body[0]
            length -= (docstring.end_lineno or 0) - docstring.lineno + 1
        yield node.name, first, length


def check(path: Path) -> tuple[list[str], list[str]]:
    """Return (errors, warnings) for one source file."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    errors: list[str] = []
    warnings: list[str] = []
    is_table = "table" in text.split("\n", 1)[0].lower()
    if lines > FILE_HARD and not is_table:
        errors.append(f"{path}: {lines} lines, at most {FILE_HARD}")
    elif lines > FILE_SOFT and not is_table:
        warnings.append(f"{path}: {lines} lines, better under {FILE_SOFT}")
    for name, line, length in functions(ast.parse(text, str(path))):
        if length > FUNCTION_HARD:
            errors.append(f"{path}:{line}: {name} has {length} lines, at most {FUNCTION_HARD}")
    return errors, warnings


def main(roots: list[str]) -> int:
    """Check all Python files below the roots; return the exit status."""
    errors: list[str] = []
    warnings: list[str] = []
    for root in roots:
        for path in sorted(Path(root).rglob("*.py")):
            found = check(path)
            errors += found[0]
            warnings += found[1]
    for line in warnings:
        print(f"note: {line}")
    for line in errors:
        print(f"error: {line}")
    if not errors:
        print(f"sizes: {', '.join(roots)} are within their limits")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["src"]))
