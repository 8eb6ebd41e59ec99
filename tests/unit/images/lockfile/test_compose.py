from pathlib import Path

import pytest

from knarr.errors import InvalidArgument
from knarr.images.lockfile import dockerfile
from knarr.images.lockfile.compose import environment, images

WHOLE = """\
x-base: &base
  image: redis:${REDIS:-7.2}
name: project
services:
  web:
    image: "${REGISTRY-docker.io}/team/web:$TAG"
  cache:
    <<: *base
    ports: !override ["80:80"]
  other: {<<: *base, environment: !reset null}
  built:
    build: .
    image: team/built
  nothing: {}
  price:
    image: shop$$:1
"""


def test_all_that_a_compose_file_names() -> None:
    assert images(WHOLE, {"TAG": "3"}) == ["docker.io/team/web:3", "redis:7.2", "shop$:1"]
    assert images(WHOLE, {"TAG": "3", "REGISTRY": "r:5000", "REDIS": ""})[:2] == [
        "r:5000/team/web:3",
        "redis:7.2",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there are no services"),
        ("[]", "there are no services"),
        ("services: []", "there are no services"),
        ("services: {a: {image: [x]}}", "service a: image is no text"),
        ("services: {a: {image: $X}}", r"service a: image \$X is empty"),
        ("services: {a: {image: '${X:?set it}'}}", "service a: .*the variable X set it"),
        ("services: {a: {image: '${X'}}", "a brace is not closed"),
        ("a: b: c", "no YAML: mapping values are not allowed"),
        ("services: {a: {image: 'x}}", "no YAML"),
        ("services: {a: !!python/object:os.system {}}", "no YAML: could not determine"),
        ("[" * 5000, "no YAML"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        images(text, {})


def test_aliases_that_multiply_cost_nothing() -> None:
    lines = ["a0: &a0 x", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))]
    text = "\n".join([*lines, "services: {s: {image: i, x: *a39}}"])
    assert images(text, {}) == ["i"]


def test_variables_of_a_file_stand_behind_those_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "\ufeff# comment\nexport A=1\nB = 2 # two\nC='$A'\nD=\"x${A}\"\n\nE=${HERE:-e}\nHERE=file\n"
    )
    found = environment(str(tmp_path), {"HERE": "shell"})
    assert found == {
        "A": "1", "B": "2", "C": "$A", "D": "x1", "E": "shell", "HERE": "shell",
    }  # fmt: skip
    assert environment(str(tmp_path / "none"), {"X": "1"}) == {"X": "1"}


@pytest.mark.parametrize("text", ["novalue", "A='x", "=1", "A=${B"])
def test_a_file_of_variables_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".env").write_text(f"\n{text}\n")
    with pytest.raises(InvalidArgument, match=r"\.env: line 2"):
        environment(str(tmp_path), {})


def doubled(count: int, form: str) -> str:
    """Return assignments of which each has the value before twice."""
    lines = [form.format(f"A0={'x' * 100}")]
    return "\n".join([*lines, *(form.format(f"A{n}=$A{n - 1}$A{n - 1}") for n in range(1, count))])


def test_values_that_double_have_an_end(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(doubled(60, "{}"))
    with pytest.raises(InvalidArgument, match=r"\.env: line 11: variables make it longer"):
        environment(str(tmp_path), {})
    (tmp_path / ".env").write_text(doubled(10, "{}") + "\n" + "B=$A9\n" * 100)
    with pytest.raises(InvalidArgument, match="its values are longer than 4194304"):
        environment(str(tmp_path), {})
    with pytest.raises(InvalidArgument, match=r"line 11: .*variables make it longer"):
        dockerfile.images(doubled(60, "ARG {}") + "\nFROM a", {})
    text = doubled(10, "ARG {}") + "\n" + "ARG B=$A9\n" * 100 + "FROM a"
    with pytest.raises(InvalidArgument, match="the arguments are longer than 4194304"):
        dockerfile.images(text, {})


@pytest.mark.parametrize("value", ["!!timestamp x", "!!bool maybe", '!!int ""', "2001-99-99",
                                   "!!set [a]", "!!float x", "[" * 5000])  # fmt: skip
def test_yaml_whose_values_are_none(value: str) -> None:
    with pytest.raises(InvalidArgument, match="no YAML"):
        images(f"services: {{a: {{image: i}}}}\nx: {value}\n", {})


def test_merges_that_multiply_cost_nothing() -> None:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 40)]
    assert images("\n".join([*lines, "services: {s: {image: i}}"]), {}) == ["i"]
