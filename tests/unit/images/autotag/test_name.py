"""Real repositories, among them such as want to have something executed."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from knarr.errors import InvalidArgument, NotFound
from knarr.images.autotag.git import checkout
from knarr.images.autotag.name import tag_for


class Tree:
    """A repository with one commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q")
        self.write("app.py", "print()\n")
        self.commit()

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "safe.directory=*"]
        done = subprocess.run(
            ["git", *who, "-C", self.folder, *words], capture_output=True, check=True, text=True
        )
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")

    @property
    def short(self) -> str:
        return self.git("rev-parse", "HEAD")[:7]

    @property
    def tag(self) -> str:
        return tag_for(str(self.folder))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    folder = tmp_path / "tree"
    folder.mkdir()
    return Tree(folder)


def test_version_and_commit(tree: Tree) -> None:
    tree.write("pyproject.toml", '[project]\nversion = "1.4.2"\n')
    tree.commit()
    assert re.fullmatch(r"1\.4\.2-[0-9a-f]{7}", tree.tag)
    assert tree.tag == f"1.4.2-{tree.short}"


def test_a_git_tag_where_no_file_states_a_version(tree: Tree) -> None:
    assert tree.tag == f"0.0.0-{tree.short}"
    tree.git("tag", "nightly")
    tree.git("tag", "v2.3.1")
    tree.write("more", "")
    tree.commit()
    assert tree.tag == f"2.3.1-{tree.short}"


@pytest.mark.parametrize(
    ("version", "shown"),
    [("1.0+local.1", "1.0_local.1"), ("v3", "3"), ("1!2.0", "1-2.0"), ("vanilla", "vanilla")],
)
def test_a_version_in_the_letters_of_a_tag(tree: Tree, version: str, shown: str) -> None:
    tree.write("VERSION", version + "\n")
    tree.commit()
    assert tree.tag == f"{shown}-{tree.short}"


def test_a_long_version_leaves_room_for_the_commit(tree: Tree) -> None:
    tree.write("VERSION", "9" * 300)
    tree.commit()
    assert len(tree.tag) == 128
    assert tree.tag.endswith(f"9-{tree.short}")


def test_a_version_without_a_letter_of_a_tag_is_refused(tree: Tree) -> None:
    tree.write("VERSION", "...")
    tree.commit()
    with pytest.raises(InvalidArgument, match=r"VERSION: the version '\.\.\.' is no tag"):
        _ = tree.tag


def test_changes_and_new_files_make_it_dirty_and_ignored_ones_do_not(tree: Tree) -> None:
    tree.write(".gitignore", "*.log\n")
    tree.commit()
    clean = tree.tag
    tree.write("a.log", "ignored")
    (tree.folder / ".git/info/exclude").write_text("build/\n")
    tree.write("build/x", "excluded")
    assert tree.tag == clean
    tree.write("new", "not tracked")
    assert tree.tag == f"{clean}-dirty"
    (tree.folder / "new").unlink()
    tree.write("app.py", "print(1)\n")
    assert tree.tag == f"{clean}-dirty"
    tree.git("add", "-A")
    assert tree.tag == f"{clean}-dirty"
    tree.git("reset", "-q", "--hard")
    assert tree.tag == clean
    (tree.folder / "app.py").unlink()
    assert tree.tag == f"{clean}-dirty"


def test_another_working_tree_of_a_repository(tree: Tree, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tree.git("worktree", "add", "-q", str(other))
    assert tag_for(str(other)) == tree.tag
    (other / "new").write_text("")
    assert tag_for(str(other)) == f"{tree.tag}-dirty"


def test_a_submodule_is_known_by_its_commit(tree: Tree, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    Tree(inner)
    tree.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "inner")
    tree.commit()
    clean = tree.tag
    assert "dirty" not in clean
    below = Tree.__new__(Tree)
    below.folder = tree.folder / "inner"
    below.write("x", "")
    below.commit()
    assert tree.tag == f"{clean}-dirty"


def test_a_split_index(tree: Tree) -> None:
    tree.git("update-index", "--split-index")
    assert tree.tag == f"0.0.0-{tree.short}"


def test_no_repository_and_no_commit(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no git repository"):
        tag_for(str(tmp_path))
    subprocess.run(["git", "init", "-q", tmp_path], check=True, capture_output=True)
    with pytest.raises(NotFound, match="no commit yet"):
        tag_for(str(tmp_path))
    with pytest.raises(InvalidArgument, match="not a directory"):
        tag_for(str(tmp_path / "none"))


def test_what_the_caller_has_told_git_is_not_meant_for_us(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nothing"))
    found = checkout(str(tree.folder))
    assert (found.top, found.dirty) == (str(tree.folder), False)


def test_the_index_is_not_written(tree: Tree) -> None:
    index = tree.folder / ".git/index"
    os.utime(tree.folder / "app.py", (1, 1))  # a refresh would note that nothing has changed
    before = index.read_bytes()
    assert "dirty" not in tree.tag
    assert index.read_bytes() == before


# --- repositories that mean harm --------------------------------------------


def trap(tree: Tree, tmp_path: Path) -> tuple[Path, Path]:
    """Return a program and the file that it makes when somebody executes it."""
    sprung, program = tmp_path / "sprung", tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {sprung}\ncat\n")
    program.chmod(0o755)
    return program, sprung


@pytest.mark.parametrize(
    "settings",
    [
        {"core.fsmonitor": "{}"},
        {"filter.trap.clean": "{}", "filter.trap.smudge": "{}"},
        {"filter.trap.process": "{}"},
        {"diff.external": "{}", "diff.trap.textconv": "{}", "diff.trap.command": "{}"},
        {"core.pager": "{}", "pager.status": "{}", "alias.status": "!{}", "alias.rev-parse": "!{}"},
        {"core.sshCommand": "{}", "core.gitProxy": "{}", "gpg.program": "{}"},
    ],
)  # fmt: skip
def test_nothing_that_a_repository_names_is_executed(
    tree: Tree, tmp_path: Path, settings: dict[str, str]
) -> None:
    tree.write(".gitattributes", "* filter=trap diff=trap\n")
    tree.commit()
    program, sprung = trap(tree, tmp_path)
    for name, value in settings.items():
        tree.git("config", name, value.format(program))
    os.utime(tree.folder / "app.py", (1, 1))  # so that its content has to be looked at
    sprung.unlink(missing_ok=True)  # by git config or rev-parse of the test itself
    assert tag_for(str(tree.folder)).startswith("0.0.0-")
    tree.folder.joinpath("app.py").write_text("changed")
    assert tag_for(str(tree.folder)).endswith("-dirty")
    assert not sprung.exists()


def test_hooks_do_not_run(tree: Tree, tmp_path: Path) -> None:
    program, sprung = trap(tree, tmp_path)
    for name in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
        (tree.folder / ".git/hooks" / name).parent.mkdir(exist_ok=True)
        (tree.folder / ".git/hooks" / name).write_bytes(program.read_bytes())
        (tree.folder / ".git/hooks" / name).chmod(0o755)
    assert tree.tag == f"0.0.0-{tree.short}"
    assert not sprung.exists()


def test_a_bare_repository_within_a_tree_is_no_source(tree: Tree, tmp_path: Path) -> None:
    bare = tree.folder / "vendor"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True, capture_output=True)
    with pytest.raises(NotFound):
        tag_for(str(bare))


@pytest.mark.root
def test_a_tree_of_somebody_else(tree: Tree) -> None:
    for path in (tree.folder, *tree.folder.rglob("*")):
        os.chown(path, 4242, 4242, follow_symlinks=False)
    assert tree.tag == f"0.0.0-{tree.short}"
