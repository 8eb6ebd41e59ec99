import os
from pathlib import Path

import pytest

from knarr.errors import InvalidArgument
from knarr.images.autotag.version import of_project


@pytest.mark.parametrize(
    ("name", "text", "version"),
    [
        ("pyproject.toml", '[project]\nname = "x"\nversion = "1.4.2"\n', "1.4.2"),
        ("pyproject.toml", '[tool.poetry]\nversion = "2.0"\n', "2.0"),
        ("pyproject.toml", '[project]\ndynamic = ["version"]\n', None),
        ("pyproject.toml", "[project]\nversion = 3\n", None),
        ("pyproject.toml", 'project = "x"\n', None),
        ("package.json", '{"name": "x", "version": "3.1.0-rc.1"}', "3.1.0-rc.1"),
        ("package.json", "[]", None),
        ("package.json", '{"private": true}', None),
        ("Cargo.toml", '[package]\nversion = "0.9.1"\n', "0.9.1"),
        ("Cargo.toml", "[package]\nversion.workspace = true\n", None),
        ("VERSION", "7.8\n", "7.8"),
        ("VERSION", "major=1\nminor=2\n", None),
    ],
)
def test_what_a_project_states(tmp_path: Path, name: str, text: str, version: str | None) -> None:
    (tmp_path / name).write_text(text)
    expected = None if version is None else (version, str(tmp_path / name))
    assert of_project(str(tmp_path), str(tmp_path)) == expected


def test_hatch_names_a_file_that_is_read_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.hatch.version]\npath = "src/x/v.py"\n')
    (tmp_path / "src/x").mkdir(parents=True)
    (tmp_path / "src/x/v.py").write_text('raise SystemExit(1)\n__version__: str = "5.6"\n')
    assert of_project(str(tmp_path), str(tmp_path)) == ("5.6", str(tmp_path / "pyproject.toml"))


@pytest.mark.parametrize("path", ["../outside.py", "/etc/hostname"])
def test_hatch_cannot_lead_out_of_the_tree(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside.py").write_text('__version__ = "6"\n')
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "pyproject.toml").write_text(f'[tool.hatch.version]\npath = "{path}"\n')
    assert of_project(str(tree), str(tree)) is None


def test_the_nearest_file_counts_up_to_the_top_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("0\n")
    top = tmp_path / "top"
    inner = top / "services" / "web"
    inner.mkdir(parents=True)
    assert of_project(str(inner), str(top)) is None
    (top / "VERSION").write_text("1.0\n")
    assert of_project(str(inner), str(top)) == ("1.0", str(top / "VERSION"))
    (inner / "package.json").write_text('{"version": "2.0"}')
    assert of_project(str(inner), str(top)) == ("2.0", str(inner / "package.json"))


def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pyproject.toml")
    (tmp_path / "VERSION").symlink_to("/etc/debian_version")
    assert of_project(str(tmp_path), str(tmp_path)) is None


@pytest.mark.parametrize("name", ["pyproject.toml", "package.json"])
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{")
    with pytest.raises(InvalidArgument, match=name):
        of_project(str(tmp_path), str(tmp_path))
