"""JSON without the package: the same as with it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.kernel import plainjson

SOURCES = Path(__file__).resolve().parents[3] / "src"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_written_is_read(value: object) -> None:
    text = plainjson.dumps(value)
    assert text == json.dumps(value)
    assert plainjson.loads(text) == value
    assert plainjson.loads(f" \n\t\r{text}\n ".encode()) == value
    assert plainjson.indented(value) == json.dumps(value, indent=2)
    assert plainjson.indented(value, "\t") == json.dumps(value, indent="\t")
    other = plainjson.dumps(value, separators=(",", ":"), sort_keys=True)
    assert other == json.dumps(value, separators=(",", ":"), sort_keys=True)


@given(st.text() | st.binary())
def test_what_is_no_document_is_refused_with_the_same_words(text: str | bytes) -> None:
    try:
        wanted = json.loads(text)
    except ValueError as error:
        with pytest.raises(ValueError) as found:
            plainjson.loads(text)
        assert str(found.value) == str(error)
    else:
        assert plainjson.loads(text) == wanted


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1,]", '{"a":1,}', "1 2", '{"a" 1}', '"\n"', "\ufeff1", "nul", "{1:2}"]
)
def test_the_place_of_a_fault_is_told(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as wanted:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as found:
        plainjson.loads(text)
    assert str(found.value) == str(wanted.value)


def test_numbers_that_are_none() -> None:
    assert plainjson.loads("[Infinity, -Infinity]") == [math.inf, -math.inf]
    assert math.isnan(plainjson.loads("NaN"))
    assert plainjson.dumps([math.inf, math.nan]) == "[Infinity, NaN]"


def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(TypeError, match="set is not JSON"):
        plainjson.dumps({"a": {1}})
    deep = "[" * 100_000
    with pytest.raises(RecursionError):
        plainjson.loads(deep)


def test_the_package_is_not_loaded() -> None:
    script = (
        "import sys; from knarr.kernel import plainjson, lean; "
        "assert plainjson.loads(plainjson.dumps({'a': [1]})) == {'a': [1]}; "
        "assert lean.signal.SIGKILL == 9; "
        "print([name for name in ('json', 're', 'enum', 'signal') if name in sys.modules])"
    )
    words = [sys.executable, "-S", "-c", script]
    assert _said(words) == "[]\n"


@pytest.mark.parametrize("modules", ["main, commands, state, show", "main, execs, filters"])
def test_commands_of_knarr_oci_do_without(modules: str) -> None:
    """What they would load takes as long as all the rest of ``state``."""
    heavy = {"enum", "re", "json", "signal", "functools", "collections", "argparse", "typing"}
    script = (
        f"import sys; from knarr.oci import {modules}; print(sorted({heavy!r} & set(sys.modules)))"
    )
    words = [sys.executable, "-S", "-c", script]
    assert _said(words) == "[]\n"


@pytest.mark.parametrize("text", ["{", "[1,]", "x", '{"a" 1}', "1 2"])
def test_a_fault_is_told_where_the_package_was_not_loaded(text: str) -> None:
    script = (
        "import sys; from knarr.kernel import plainjson\n"
        "try: plainjson.loads(sys.argv[1])\n"
        "except ValueError as error: print(error)"
    )
    words = [sys.executable, "-S", "-c", script, text]
    with pytest.raises(json.JSONDecodeError) as wanted:
        json.loads(text)
    assert _said(words) == f"{wanted.value}\n"


def _said(words: list[str]) -> str:
    """Return what an interpreter says that has no other packages than ours."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    return subprocess.check_output(words, text=True, env=environment)
