"""Policy files: what is read from one, and which one is not trusted."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest

from knarr import errors
from knarr.config import Settings
from knarr.engine.policy import file
from knarr.engine.policy.file import Containers, Images, Limits
from knarr.engine.policy.guard import Guard

WHOLE = """
[containers]
non_root = true
read_only_root = true
privileged = false
no_new_privileges = true
masked_paths = true
capabilities = ["chown", "CAP_NET_BIND_SERVICE"]
host_namespaces = []
seccomp = ["builtin"]
apparmor = ["knarr-default"]
bind_mounts = ["/srv/data", "/srv/shared:ro"]
devices = ["/dev/fuse"]

[images]
references = ["debian:*"]
digests = ["sha256:00"]

[limits]
memory = "1g"
memory_swap = 2147483648
pids = 100
cpus = 1.5
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "policy.toml"
    made.write_text(WHOLE)
    made.chmod(0o644)
    return made


def reason(path: Path | str) -> str:
    with pytest.raises(errors.RefusedByPolicy) as caught:
        file.read(str(path))
    assert caught.value.rule == ""
    assert caught.value.file == str(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"policy {path} ")


def test_everything_there_is(path: Path) -> None:
    found = file.read(str(path))
    assert found.containers == Containers(
        non_root=True, read_only_root=True, privileged=False, no_new_privileges=True,
        masked_paths=True, capabilities=("CAP_CHOWN", "CAP_NET_BIND_SERVICE"), host_namespaces=(),
        seccomp=("builtin",), apparmor=("knarr-default",),
        bind_mounts=("/srv/data", "/srv/shared:ro"), devices=("/dev/fuse",),
    )  # fmt: skip
    assert found.images == Images(("debian:*",), ("sha256:00",))
    assert found.limits == Limits(1 << 30, 1 << 31, 100, 1_500_000_000)


def test_the_page_shows_every_rule_and_what_it_shows_is_right(path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "policy.md").read_text()
    path.write_text(page.partition("```toml\n")[2].partition("```")[0])
    found = file.read(str(path))
    for section in (found.containers, found.images, found.limits):
        for rule in fields(section):
            assert getattr(section, rule.name) != rule.default, rule.name
    for rule in fields(Containers):
        assert f"| `{rule.name}` |" in page


def test_an_empty_file_has_no_rules(path: Path) -> None:
    path.write_text("# nothing\n")
    found = file.read(str(path))
    assert (found.containers, found.images, found.limits) == (Containers(), Images(), Limits())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[containers]\nnonroot = true", "containers.nonroot: there is no such rule, but apparmor"),
        ("[container]\n", "container: there is no such section, but containers, images, limits"),
        ("images = 3", "images: has to be a section, [images]"),
        ("[containers]\nnon_root = 'yes'", "containers.non_root: has to be true or false"),
        ("[containers]\nseccomp = 'builtin'", "containers.seccomp: has to be a list of texts"),
        ("[containers]\ncapabilities = ['CHWON']", 'unknown capability: "CAP_CHWON"'),
        ("[containers]\nhost_namespaces = ['net']", "'net' is none of cgroup, ipc, network"),
        ("[containers]\nbind_mounts = ['srv']", "'srv' is no absolute path"),
        ("[images]\ndigests = ['12ab']", "'12ab' does not begin with sha256:"),
        ("[limits]\nmemory = 'much'", "limits.memory: invalid size: 'much'"),
        ("[limits]\npids = 0", "limits.pids: has to be more than 0"),
        ("[limits]\npids = true", "limits.pids: True is no limit"),
        ("[limits]\ncpus = -1", "limits.cpus: invalid number of CPUs"),
        ("[containers\n", "is not TOML: "),
    ],
)
def test_what_is_no_rule_is_named(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    assert said in reason(path)


def test_who_could_have_written_it(path: Path) -> None:
    path.chmod(0o664)
    assert reason(path).startswith(f"cannot be trusted: others can write {path} (mode 0664): chown")
    path.chmod(0o644)
    path.parent.chmod(0o777)
    assert f"others can write {path.parent} (mode 0777)" in reason(path)
    path.parent.chmod(0o1777)
    assert file.read(str(path)).containers.non_root


@pytest.mark.root
def test_what_belongs_to_somebody_else(path: Path, tmp_path: Path) -> None:
    os.chown(path, 1000, 1000)
    assert "belongs to uid 1000" in reason(path)
    os.chown(path, 0, 0)
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "link").symlink_to(path)
    os.chown(folder, 1000, 1000)
    assert f"{folder} belongs to uid 1000" in reason(folder / "link")
    ours = tmp_path / "ours"
    ours.symlink_to(folder / "link")
    assert f"{folder} belongs to uid 1000" in reason(ours)
    os.chown(folder, 0, 0)
    assert file.read(str(ours)).containers.non_root
    folder.chmod(0o1777)
    os.lchown(folder / "link", 1000, 1000)
    assert f"{folder}/link is a link of uid 1000's" in reason(ours)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert reason(tmp_path / "fifo") == "is not a regular file"
    assert reason(tmp_path) == "is not a regular file"
    (tmp_path / "large").write_text("#" * (1 << 20) + "\n")
    (tmp_path / "large").chmod(0o600)
    assert reason(tmp_path / "large") == "is larger than 1048576 bytes"
    (tmp_path / "latin").write_bytes(b"# \xe9")
    assert reason(tmp_path / "latin").startswith("is not TOML: ")


def test_only_where_nothing_is_there_is_no_policy(path: Path, tmp_path: Path) -> None:
    machine = tmp_path / "machine.toml"
    guard = Guard(Settings(), str(machine))
    assert guard.files() == []
    assert guard.rules() is None
    machine.symlink_to("nowhere")
    with pytest.raises(errors.RefusedByPolicy, match="cannot be read: No such file"):
        guard.rules()
    machine.unlink()
    machine.mkdir()
    with pytest.raises(errors.RefusedByPolicy, match="is not a regular file"):
        guard.rules()
    with pytest.raises(errors.RefusedByPolicy, match="stat: Not a directory"):
        Guard(Settings(), f"{path}/policy.toml").rules()


def test_a_data_root_that_others_can_write(path: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    guard = Guard(Settings(data_root=str(root / "data")), str(path))
    assert guard.rules() is not None  # not there yet
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(errors.RefusedByPolicy) as caught:
        guard.rules()
    assert caught.value.rule == "data root"
    assert f"others can write {root} (mode 0777)" in str(caught.value)
    path.unlink()
    assert guard.rules() is None


def test_the_policy_of_settings_comes_on_top(path: Path, tmp_path: Path) -> None:
    lax = tmp_path / "lax.toml"
    lax.write_text("")
    guard = Guard(Settings(policy=str(lax)), str(path))
    assert guard.files() == [str(path), str(lax)]
    rules = guard.rules()
    assert rules is not None
    with pytest.raises(errors.RefusedByPolicy, match=f"refused by policy {path}"):
        rules.user(0)
    lax.unlink()
    with pytest.raises(errors.RefusedByPolicy, match=r"lax\.toml cannot be read"):
        guard.rules()
