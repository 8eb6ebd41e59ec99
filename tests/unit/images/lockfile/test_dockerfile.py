import pytest

from knarr.errors import InvalidArgument
from knarr.images.lockfile.dockerfile import images
from knarr.images.platform import Platform

WHOLE = """\
# syntax=docker/dockerfile:1
# A comment
ARG BASE=bookworm SUITE="stable" \\
    # in between
    OTHER='$literal'
ARG TAG=${BASE}-slim
ARG NOTHING
FROM --platform=$BUILDPLATFORM golang:1.22 AS Build
RUN --mount=type=bind,from=tools:2,target=/t --mount=type=cache,target=/c make
COPY <<EOF /etc/x
FROM not-an-image
EOF
RUN <<-'ONE' cat <<TWO
FROM nor-this
\tONE
FROM nor-that
TWO
from ${NOTHING}debian:${TAG}
COPY --chown=1:1 --from=build /x /y
COPY --from=nginx:1.25 /a /b
COPY --from=0 /a /b
COPY --from=$BASE /a /b
FROM scratch
FROM build AS again
FROM golang:1.22
"""


def test_all_that_a_dockerfile_names() -> None:
    assert images(WHOLE, {}) == ["golang:1.22", "tools:2", "debian:bookworm-slim", "nginx:1.25"]


def test_arguments_of_the_build() -> None:
    given = {"BASE": "trixie", "NOTHING": "mirror.example.org/", "FOREIGN": "x"}
    assert images(WHOLE, given)[2] == "mirror.example.org/debian:trixie-slim"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM a", ["a"]),
        ("\ufeffFROM a\r\n", ["a"]),
        ("FROM\ta\tAS\tb\nFROM b", ["a"]),
        ("# escape=`\nARG X=1`\n Y=2\nFROM a:${X}-$Y", ["a:1-2"]),
        ("# escape=`\nFROM a\nCOPY x c:\\\nFROM b", ["a", "b"]),
        ("FROM a\nARG X=1\nFROM b$X", ["a", "b"]),  # an argument of a stage
        ("FROM a AS b\nFROM B AS c\nFROM C", ["a"]),
        ("FROM b\nFROM a AS b", ["b", "a"]),  # no earlier stage
        ("FROM \\\n  a", ["a"]),
        ("FROM \\\n# comment\n\n  a", ["a"]),
        ("ARG X=a@sha256:1\nFROM $X", ["a@sha256:1"]),
        ("FROM a\nRUN echo --mount=from=x", ["a"]),
        ("FROM a\nADD <<EOF /x\nFROM b\nEOF\nFROM c", ["a", "c"]),
        ("FROM a\nRUN cat <<EOF\nFROM b", ["a", "b"]),  # never closed: none at all
    ],
)
def test_small_ones(text: str, found: list[str]) -> None:
    assert images(text, {}) == found


def test_platforms_are_arguments_that_are_there() -> None:
    text = "FROM app-$TARGETARCH$TARGETVARIANT:${TARGETOS}"
    assert images(text, {}, Platform("linux", "arm", "v7")) == ["app-armv7:linux"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no FROM line"),
        ("RUN x", "there is no FROM line"),
        ("FROM", "line 1: FROM"),
        ("# c\nFROM a b", "line 2: FROM a b: FROM takes an image"),
        ("FROM ${X}", "the name of the image is empty"),
        ("ARG 1=2\nFROM a", "line 1: ARG 1=2: an argument has no name"),
        ("FROM ${X:?say-which}", "the variable X say-which"),
        ("FROM ${X#a}", "not supported"),
    ],
)
def test_what_is_refused_names_the_line(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        images(text, {})


def test_only_newlines_end_lines() -> None:
    assert images("FROM a\r\nRUN echo \u2028FROM b\x0bFROM c\nFROM d", {}) == ["a", "d"]


def test_a_line_that_goes_on_for_long_costs_no_more_than_its_length() -> None:
    assert images("FROM a\nRUN x\\\n" + "\n# c\ny\\\n" * 300_000 + "z\nFROM b", {}) == ["a", "b"]
