import pytest

from knarr.errors import InvalidArgument
from knarr.images.lockfile.variables import substitute

VALUES = {"A": "1", "EMPTY": "", "B": "${A}"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("x", "x"),
        ("$A", "1"),
        ("${A}", "1"),
        ("p$A/q", "p1/q"),
        ("$A$A", "11"),
        ("[${NONE}]", "[]"),
        ("${NONE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NONE-d}", "d"),
        ("${A:-d}", "1"),
        ("${A:+yes}", "yes"),
        ("${EMPTY:+yes}", ""),
        ("${EMPTY+yes}", "yes"),
        ("${NONE+yes}", ""),
        ("${A:?no}", "1"),
        ("${NONE:-${A}}", "1"),
        ("${NONE:-${ALSO:-x${A}y}}z", "x1yz"),
        ("${NONE:-http://x}", "http://x"),
        ("$$A", "$A"),
        ("$${A}", "${A}"),
        ("$B", "${A}"),
    ],
)  # fmt: skip
def test_as_in_compose(text: str, result: str) -> None:
    assert substitute(text, VALUES) == result


@pytest.mark.parametrize(
    ("text", "result"), [(r"\$A", "$A"), (r"\${A}$A", "${A}1"), (r"a\\b", r"a\b"), ("x$A", "x1")]
)
def test_a_dockerfile_escapes_with_a_sign(text: str, result: str) -> None:
    assert substitute(text, VALUES, escape="\\") == result


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${NONE:?is needed}", "the variable NONE is needed"),
        ("${EMPTY:?}", "the variable EMPTY has no value"),
        ("$", "no name"),
        ("$1", "no name"),
        ("${", "no name"),
        ("${A", "a brace is not closed"),
        ("${A:-${B}", "a brace is not closed"),
        ("${A%x}", "'%' after a name is not supported"),
        ("${A:x}", "not supported"),
        ("${NONE:-" * 40 + "}" * 40, "more than 20 deep"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        substitute(text, VALUES)
