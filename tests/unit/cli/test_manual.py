"""Manual pages: every command has one, mandoc finds nothing wrong, and man shows all of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from knarr.cli import manual, verbs

PAGES = manual.pages()


def test_every_command_has_a_page() -> None:
    names = {f"knarr-{module.replace('_', '-')}.1" for module in verbs.modules()}
    assert set(PAGES) == {"knarr.1", *names}


@pytest.mark.parametrize("module", verbs.modules())
def test_a_page_has_every_flag_and_example(module: str) -> None:
    command = verbs.load(module)
    plain = PAGES[f"knarr-{module.replace('_', '-')}.1"].replace("\\-", "-").replace("\\e", "\\")
    for flag in command.flags:
        assert f"\\fB--{flag.name}\\fR" in plain
    for line, what in command.examples:
        assert f"\n{line}\n" in plain
        assert f"\n{what}:\n" in plain


def test_pages_that_are_referred_to_are_there() -> None:
    for name, text in PAGES.items():
        for page in re.findall(r"\\fB([a-z\\-]+)\\fR\(1\)", text):
            if page != "knarr\\-COMMAND":
                assert f"{page.replace(chr(92), '')}.1" in PAGES, name


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_mandoc_finds_nothing_wrong(tmp_path: Path) -> None:
    manual.write(str(tmp_path))
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "warning", *sorted(map(str, tmp_path.iterdir()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    # A date would be another one in each wheel that is made of the same sources.
    wrong = [
        line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line
    ]
    assert wrong == []


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="needs mandoc")
def test_what_is_shown(tmp_path: Path) -> None:
    manual.write(str(tmp_path))
    shown = subprocess.run(
        ["mandoc", "-Tascii", str(tmp_path / "knarr-exec.1")], capture_output=True, check=True
    ).stdout
    plain = re.sub(rb".\x08", b"", shown).decode()
    assert "-u, --user string" in plain
    assert "       knarr exec [OPTIONS] CONTAINER COMMAND [ARG...]" in plain
    assert "knarr exec -u 1000 -w /srv -e LANG=C web ls" in plain
    assert "knarr(1)" in plain
