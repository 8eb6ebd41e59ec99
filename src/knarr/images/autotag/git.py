"""What git says of a source tree, asked so that nothing of the repository is executed.

A repository's own configuration can name programs: hooks, ``core.fsmonitor``, clean filters,
remotes of a partial clone. What only reads objects is asked with those turned off. Whether files
were changed is asked with a git directory of our own beside it, which has the same objects and
index and none of its configuration; git(1), "SECURITY", says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from knarr.errors import InvalidArgument, NotFound, Timeout, Unsupported

# Seconds in which git has answered: a status reads every file that may have changed.
_PATIENCE = 120
# safe.directory: whose the files are does not matter where nothing of theirs is executed.
_HARMLESS = (
    "safe.directory=*",
    "safe.bareRepository=explicit",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "protocol.allow=never",
)
# Settings of a repository that decide what counts as changed, and are plain values.
_KEPT = (
    "core.autocrlf", "core.eol", "core.filemode", "core.ignorecase", "core.symlinks",
    "extensions.objectformat",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Checkout:
    """A working tree: its top directory, the commit in full, whether files differ from it."""

    top: str
    commit: str
    dirty: bool


def checkout(folder: str) -> Checkout:
    """Return what is checked out where ``folder`` is.

    Files that are neither tracked nor ignored count as changes, since a build may take them.
    Raises NotFound without a repository or commit, Unsupported without git, InvalidArgument for
    what git cannot read, Timeout.
    """
    said = _asked(folder, "rev-parse", "--show-toplevel", "--absolute-git-dir", "--git-common-dir")
    if said is None:
        raise NotFound(f"{folder}: no git repository: the tag of --auto needs a commit")
    lines = said.splitlines()
    if len(lines) != 3 or not lines[0]:
        raise NotFound(f"{folder}: no working tree of a git repository")
    top, own, common = lines[0], lines[1], os.path.join(folder, lines[2])
    commit = _asked(folder, "rev-parse", "--verify", "HEAD^{commit}")
    if commit is None:
        raise NotFound(f"{top}: the git repository has no commit yet")
    return Checkout(top, commit.strip(), _is_dirty(top, own, common, commit.strip()))


def version_tag(folder: str) -> str | None:
    """Return the nearest tag before the commit that is a version, ``v1.2`` or ``1.2``, or None."""
    patterns = ("--match", "v[0-9]*", "--match", "[0-9]*")
    said = _asked(folder, "describe", "--tags", "--abbrev=0", *patterns)
    return said.strip() if said else None


def _is_dirty(top: str, own: str, common: str, commit: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="knarr-git-") as shadow:
        _write(shadow, "HEAD", commit + "\n")
        _write(shadow, "config", _config(common))
        _write(shadow, "objects/info/alternates", os.path.join(common, "objects") + "\n")
        os.mkdir(os.path.join(shadow, "refs"))
        exclude = os.path.join(common, "info", "exclude")
        if os.path.isfile(exclude):
            os.mkdir(os.path.join(shadow, "info"))
            shutil.copyfile(exclude, os.path.join(shadow, "info", "exclude"))
        for name in os.listdir(own):
            if name.startswith("sharedindex."):
                os.symlink(os.path.join(own, name), os.path.join(shadow, name))
        places = {
            "GIT_DIR": shadow,
            "GIT_WORK_TREE": top,
            "GIT_INDEX_FILE": os.path.join(own, "index"),
        }
        # A submodule is compared by its commit: git would read its own configuration for more.
        words = ("status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=dirty")
        done = _git(top, words, places)
        if done.returncode != 0:
            raise InvalidArgument(f"{top}: git status: {_first_line(done.stderr)}")
        return bool(done.stdout.strip())


def _config(common: str) -> str:
    """Return a configuration with what of the repository's is only a value."""
    path = os.path.join(common, "config")
    lines = ["[core]\n\trepositoryformatversion = 1\n\tbare = false\n"]
    for name in _KEPT:
        done = _git(common, ("config", "--file", path, "--no-includes", "--get", name), {})
        value = done.stdout.decode(errors="replace").strip()
        if value.isalnum():
            section, _, key = name.partition(".")
            lines.append(f"[{section}]\n\t{key} = {value}\n")
    return "".join(lines)


def _write(folder: str, name: str, text: str) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def _asked(folder: str, *words: str) -> str | None:
    """Return what git answers in ``folder``, None when it refuses."""
    done = _git(folder, words, {})
    return os.fsdecode(done.stdout) if done.returncode == 0 else None


def _git(
    folder: str, words: tuple[str, ...], places: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    options = [word for setting in _HARMLESS for word in ("-c", setting)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1"}
    try:
        return subprocess.run(
            ["git", "--no-pager", "-C", folder, *options, *words],
            env={**clean, **quiet, "LC_ALL": "C", **places},
            stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_PATIENCE,
        )  # fmt: skip
    except FileNotFoundError:
        raise Unsupported("--auto asks git, which is not installed: apt install git") from None
    except subprocess.TimeoutExpired:
        raise Timeout(f"{folder}: git {words[0]} did not end in {_PATIENCE} seconds") from None


def _first_line(data: bytes) -> str:
    lines = data.decode(errors="replace").strip().splitlines()
    return lines[0][:200] if lines else "it failed and says nothing"
