"""An administrator's policy: each rule, and the ways around it that there are not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from knarr import ContainerConfig, Engine, ExecConfig, Sandbox, Settings, errors
from knarr.engine.model import (
    BindMount,
    Device,
    Limits,
    RestartPolicy,
    Tmpfs,
)
from tests.integration.engine.test_users import ME, OURS, put
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from knarr import Container

Under = Callable[[str], Engine]
SLEEP = ("sleep", "100")


@pytest.fixture
def under(engine: Engine) -> Iterator[Under]:
    """Return what gives an engine on the same roots, under a policy with that text."""
    with contextlib.ExitStack() as opened:
        path = f"{os.path.dirname(engine.settings.data_root)}/policy.toml"
        chosen = {name: getattr(engine.settings, name) for name in Settings.__slots__}
        settings = Settings(**{**chosen, "policy": path})

        def make(text: str) -> Engine:
            Path(path).write_text(text)
            return opened.enter_context(Engine(settings))

        yield make


def refusal(act: Callable[[], object]) -> errors.RefusedByPolicy:
    with pytest.raises(errors.RefusedByPolicy) as caught:
        act()
    assert caught.value.file.endswith("/policy.toml")
    assert caught.value.file in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def rule_against(engine: Engine, **changes: Any) -> str:
    """Return the rule by which a container is not made; there is nothing of it."""
    before = len(engine.table.all())
    error = refusal(lambda: engine.containers.create(config(**changes)))
    assert len(engine.table.all()) == before == len(engine.driver.list_keys())
    assert f", {error.rule}: " in str(error)
    return error.rule


def config(**changes: Any) -> ContainerConfig:
    return ContainerConfig(**{"image": "busybox", "command": SLEEP, **changes})


def allowed(engine: Engine, **changes: Any) -> Container:
    """Make and start a container."""
    container = engine.containers.create(config(**changes))
    container.start()
    return container


CASES = [
    ("[containers]\nnon_root = true", "containers.non_root", {}, {"user": "1000"}),
    ("[containers]\nread_only_root = true", "containers.read_only_root", {}, {"read_only": True}),
    ("[containers]\nprivileged = false", "containers.privileged", {"privileged": True}, {}),
    ("[containers]\nno_new_privileges = true", "containers.no_new_privileges", {},
     {"security_opt": ("no-new-privileges",)}),
    ("[containers]\nmasked_paths = true", "containers.masked_paths",
     {"security_opt": ("systempaths=unconfined",)}, {}),
    ("[containers]\nmasked_paths = true", "containers.masked_paths", {"privileged": True}, {}),
    ("[containers]\ncapabilities = ['CHOWN', 'KILL']", "containers.capabilities", {},
     {"cap_drop": ("ALL",), "cap_add": ("chown",)}),
    ("[containers]\ncapabilities = ['CHOWN']", "containers.capabilities", {"privileged": True},
     {"cap_drop": ("ALL",)}),
    ("[containers]\ncapabilities = []", "containers.capabilities",
     {"cap_drop": ("ALL",), "cap_add": ("SYS_TIME",)}, {"cap_drop": ("ALL",)}),
    ("[containers]\nhost_namespaces = ['user']", "containers.host_namespaces",
     {"network": "host"}, {"userns": "host"}),
    ("[containers]\nhost_namespaces = ['user']", "containers.host_namespaces", {"pid": "host"}, {}),
    ("[containers]\nhost_namespaces = ['user']", "containers.host_namespaces", {"ipc": "host"}, {}),
    ("[containers]\nhost_namespaces = ['user']", "containers.host_namespaces", {"uts": "host"}, {}),
    ("[containers]\nhost_namespaces = ['user']", "containers.host_namespaces",
     {"cgroupns": "host"}, {}),
    ("[containers]\nhost_namespaces = ['network']", "containers.host_namespaces",
     {"userns": "host"}, None),
    ("[containers]\nseccomp = ['builtin']", "containers.seccomp",
     {"security_opt": ("seccomp=unconfined",)}, {}),
    ("[containers]\nseccomp = ['builtin']", "containers.seccomp", {"privileged": True}, {}),
    ("[containers]\nseccomp = ['builtin']", "containers.seccomp",
     {"security_opt": ('seccomp={"defaultAction": "SCMP_ACT_ALLOW"}',)}, {}),
    ("[containers]\ndevices = ['/dev/nul*']", "containers.devices",
     {"devices": (Device("/dev/zero", "/dev/x"),)}, {"devices": (Device("/dev/null", "/dev/x"),)}),
    ("[containers]\ndevices = ['/dev/*']", "containers.devices",
     {"device_cgroup_rules": ("b 8:0 rwm",)}, {}),
    ("[containers]\ndevices = ['/dev/*']", "containers.devices", {"privileged": True}, {}),
    ("[images]\nreferences = ['debian:*']", "images", {}, None),
    ("[images]\nreferences = ['busybox:*']", "images", {"image": "other/box"}, {}),
    ("[images]\nreferences = ['docker.io/library/*']", "images", {"image": "other/box"}, {}),
    ("[images]\nreferences = []", "images", {}, None),
    ("[images]\ndigests = []", "images", {}, None),
    ("[limits]\nmemory = '64m'", "limits.memory", {}, {"limits": Limits(memory=64 << 20)}),
    ("[limits]\nmemory = '64m'", "limits.memory", {"limits": Limits(memory=65 << 20)}, {}),
    ("[limits]\nmemory_swap = '64m'", "limits.memory_swap", {"limits": Limits(memory=33 << 20)},
     {"limits": Limits(memory=32 << 20)}),
    ("[limits]\nmemory_swap = '64m'", "limits.memory_swap",
     {"limits": Limits(memory=32 << 20, memory_swap=-1)}, {}),
    ("[limits]\npids = 50", "limits.pids", {}, {"limits": Limits(pids=50)}),
    ("[limits]\npids = 50", "limits.pids", {"limits": Limits(pids=-1)}, {}),
    ("[limits]\npids = 50", "limits.pids", {"limits": Limits(pids=51)}, {}),
    ("[limits]\ncpus = 0.5", "limits.cpus", {}, {"limits": Limits(nano_cpus=500_000_000)}),
    ("[limits]\ncpus = 0.5", "limits.cpus", {"limits": Limits(cpu_quota=60_000)},
     {"limits": Limits(cpu_quota=50_000)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rule", "bad", "good"), CASES, ids=[f"{each[1]}-{n}" for n, each in enumerate(CASES)]
)
def test_each_rule(
    under: Under, text: str, rule: str, bad: dict[str, Any], good: dict[str, Any] | None
) -> None:
    engine = under(text)
    if bad.get("image"):
        before = engine.containers.create(config(command=("true",)))
        before.commit("other/box")
        before.remove()
    assert rule_against(engine, **bad) == rule
    # Where nothing is left to set right, others of the same rule start containers.
    if good:
        allowed(engine, **good).remove(force=True)


def test_a_joined_namespace_of_one_that_has_the_hosts(engine: Engine, under: Under) -> None:
    first = engine.containers.create(config(network="host", name="first"))
    first.start()
    second = engine.containers.create(config(network="container:first", name="second"))
    second.start()
    strict = under("[containers]\nhost_namespaces = ['user', 'pid']")
    for name in ("first", "second"):
        assert rule_against(strict, network=f"container:{name}") == "containers.host_namespaces"
    for container in (second, first):
        container.remove(force=True)


@pytest.mark.vm
def test_names_that_are_root(engine: Engine, under: Under) -> None:
    strict = under("[containers]\nnon_root = true")
    for user in ("root", "0", "00", "+0", "root:1000", "0:0", "0:nobody", ""):
        assert rule_against(strict, user=user) == "containers.non_root", user
    # A user of the image that is root by another name, or by none.
    box = engine.containers.create(config(command=("true",)))
    put(box, ME + b"toor:x:0:0::/:/bin/sh\n", OURS)
    for number, user in enumerate(("toor", "root", "0", "")):
        box.commit(f"box:{number}", changes=[f"USER {user}"] if user else ())
        assert rule_against(strict, image=f"box:{number}") == "containers.non_root"
    box.commit("box:me", changes=["USER me"])
    running = allowed(strict, image="box:me")
    assert running.exec_run(ExecConfig(("id", "-u"))).text == "71\n"
    running.remove(force=True)


def test_a_name_that_comes_to_mean_root_later(engine: Engine, under: Under, tmp_path: Path) -> None:
    strict = under("[containers]\nnon_root = true")
    container = strict.containers.create(config(user="me"))
    put(container, ME, OURS)
    container.start()
    assert container.exec_run(ExecConfig(("id", "-u"))).text == "71\n"
    container.stop(timeout=0)
    put(container, ME.replace(b":71:", b":0:"), OURS)
    assert refusal(container.start).rule == "containers.non_root"
    assert container.status == "exited"
    assert "containers.non_root" in container.state.error
    assert refusal(container.restart).rule == "containers.non_root"
    # What is mounted over the files of the container is not asked.
    passwd = tmp_path / "passwd"
    passwd.write_bytes(ME.replace(b":71:", b":0:"))
    box = engine.containers.create(config(command=("true",)))
    put(box, ME, OURS)
    box.commit("box")
    mounted = strict.containers.create(
        config(image="box", user="me", binds=(BindMount(str(passwd), "/etc/passwd"),))
    )
    mounted.start()
    assert Path(f"/proc/{mounted.state.pid}/status").read_text().count("\nUid:\t0") == 0
    assert mounted.exec_run(ExecConfig(("id", "-u"), user="71")).text == "71\n"
    assert refusal(lambda: mounted.exec_run(ExecConfig(("id",)))).rule == "containers.non_root"
    mounted.remove(force=True)


def test_commands_in_a_container(engine: Engine, under: Under) -> None:
    ours = engine.containers.create(config(user="1000", name="ours"))
    ours.start()
    strict = under(
        "[containers]\nnon_root = true\nprivileged = false\ncapabilities = ['ALL']\n"
    ).containers.get("ours")

    def rule(**options: Any) -> str:
        return refusal(lambda: strict.exec_run(ExecConfig(("true",), **options))).rule

    assert rule(user="root") == rule(user="0") == rule(user="0:0") == "containers.non_root"
    assert rule(privileged=True) == "containers.privileged"
    assert strict.exec_run(ExecConfig(("id", "-u"))).text == "1000\n"
    capped = under("[containers]\ncapabilities = ['CHOWN']\n").containers.get("ours")
    assert refusal(lambda: capped.exec_run(ExecConfig(("true",)))).rule == "containers.capabilities"
    ours.remove(force=True)


def test_one_that_was_made_before_is_asked_when_it_is_started(engine: Engine, under: Under) -> None:
    container = engine.containers.create(config(name="old"))
    container.start()
    strict = under("[containers]\nnon_root = true")
    old = strict.containers.get("old")
    assert old.state.running
    old.stop(timeout=0)
    assert refusal(old.start).rule == "containers.non_root"
    assert refusal(lambda: old.clone("copy")).rule == "containers.non_root"
    under("")
    old.start()
    assert old.state.running
    old.remove(force=True)


def test_limits_cannot_be_taken_away(under: Under) -> None:
    engine = under("[limits]\nmemory = '64m'\npids = 50")
    limits = Limits(memory=32 << 20, pids=20)
    container = allowed(engine, limits=limits)
    for change in (Limits(memory=65 << 20, memory_swap=-1), Limits(pids=-1), Limits(pids=51)):
        assert refusal(lambda: container.update(change)).rule.startswith("limits.")  # noqa: B023
        assert container.config.limits == limits
    container.update(Limits(pids=50))
    container.remove(force=True)


def test_a_restart_policy_does_not_start_what_is_forbidden(under: Under) -> None:
    engine = under("")
    container = engine.containers.create(
        config(command=("sh", "-c", "read x < /hold"), restart=RestartPolicy("always"))
    )
    archive_fifo(container)
    container.start()
    under("[containers]\nnon_root = true")
    hold = os.open(f"/proc/{container.state.pid}/root/hold", os.O_WRONLY)
    os.close(hold)
    wait_until(lambda: "containers.non_root" in container.state.error)
    assert not container.state.running
    container.remove(force=True)


def archive_fifo(container: Container) -> None:
    """Put a fifo into a container, which ends when somebody opens and closes that."""
    import io
    import tarfile

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("hold")
        member.type, member.mode = tarfile.FIFOTYPE, 0o666
        tar.addfile(member)
    archive.seek(0)
    container.put_archive("/", archive)


def test_forks_and_sandboxes(engine: Engine, under: Under) -> None:
    with Sandbox("busybox", engine=engine) as box:
        box.files.write("/file", "x")
        strict = under("[containers]\nnon_root = true")
        assert refusal(lambda: Sandbox("busybox", engine=strict)).rule == "containers.non_root"
    with Sandbox("busybox", engine=strict, user="1000") as box:
        assert box.run("id", "-u").text == "1000\n"
        assert refusal(lambda: box.run("id", user="root")).rule == "containers.non_root"
        with box.fork() as fork:
            assert fork.run("id", "-u").text == "1000\n"
        under("[limits]\npids = 10")
        assert refusal(box.fork).rule == "limits.pids"


def test_bind_mounts(under: Under, tmp_path: Path) -> None:
    data, shared, other = (tmp_path / name for name in ("data", "shared", "other"))
    for folder in (data, shared, other):
        folder.mkdir()
    engine = under(f"[containers]\nbind_mounts = ['{data}', '{shared}/:ro']")

    def rule(source: Path | str, *, read_only: bool = False) -> str:
        bind = BindMount(str(source), "/x", read_only=read_only)
        return rule_against(engine, binds=(bind,))

    assert rule(other) == rule("/") == rule(f"{data}x") == "containers.bind_mounts"
    assert rule(shared) == "containers.bind_mounts"
    assert rule(f"{data}/../other") == "containers.bind_mounts"
    assert not Path(f"{data}x").exists()
    (data / "link").symlink_to(other)
    assert rule(data / "link") == "containers.bind_mounts"
    binds = (BindMount(f"{data}/new", "/d"), BindMount(str(shared), "/s", read_only=True))
    allowed(engine, binds=binds, name="first").remove(force=True)
    assert (data / "new").is_dir()


@pytest.mark.vm
def test_a_link_that_is_put_there_after_the_check(under: Under, tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    for folder in (data, data / "in", other):
        folder.mkdir()
    engine = under(f"[containers]\nbind_mounts = ['{data}']")
    container = engine.containers.create(config(binds=(BindMount(f"{data}/in", "/x"),)))
    (data / "in").rmdir()
    (data / "in").symlink_to(other)
    assert refusal(container.start).rule == "containers.bind_mounts"
    (data / "in").unlink()
    container.start()  # made anew, where it may be
    assert (data / "in").is_dir()
    container.remove(force=True)


def test_mounts_of_others_count(engine: Engine, under: Under, tmp_path: Path) -> None:
    engine.containers.create(config(name="first", binds=(BindMount(str(tmp_path), "/x"),)))
    strict = under("[containers]\nbind_mounts = []")
    assert rule_against(strict, volumes_from=("first",)) == "containers.bind_mounts"
    allowed(strict, tmpfs=(Tmpfs("/x"),)).remove(force=True)


def test_links_to_profiles_and_devices_do_not_count(under: Under, tmp_path: Path) -> None:
    profile = tmp_path / "good.json"
    profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    (tmp_path / "link.json").symlink_to(profile)
    engine = under(
        f"[containers]\nseccomp = ['{tmp_path}/*.json']\ndevices = ['{tmp_path}/*', '/dev/null']"
    )
    assert rule_against(engine) == "containers.seccomp"
    good = f"seccomp={profile}"
    link = f"seccomp={tmp_path}/link.json"
    assert rule_against(engine, security_opt=(link,)) == "containers.seccomp"
    up = f"seccomp={tmp_path}/../{tmp_path.name}/good.json"
    assert rule_against(engine, security_opt=(up,)) == "containers.seccomp"
    (tmp_path / "zero").symlink_to("/dev/zero")
    device = Device(f"{tmp_path}/zero", "/dev/x")
    assert rule_against(engine, security_opt=(good,), devices=(device,)) == "containers.devices"
    allowed(engine, security_opt=(good,)).remove(force=True)


@pytest.mark.vm
def test_an_apparmor_profile_that_is_not_there(engine: Engine, under: Under) -> None:
    strict = under("[containers]\napparmor = ['knarr-default']")
    if engine.machine.apparmor is None:
        assert rule_against(strict) == "containers.apparmor"
    else:
        allowed(strict).remove(force=True)
        unconfined = ("apparmor=unconfined",)
        assert rule_against(strict, security_opt=unconfined) == "containers.apparmor"
    allowed(under("[containers]\napparmor = ['knarr-default', 'unconfined']")).remove(force=True)


def test_images_by_digest(engine: Engine, under: Under) -> None:
    image = engine.images.get("busybox").record
    strict = under("")
    for digest in (image.id, image.manifest_digest):
        under(f"[images]\ndigests = ['{digest}']\nreferences = ['other/*']")
        for name in ("busybox", image.id, image.id[7:19]):
            allowed(strict, image=name).remove(force=True)
    # One that was made of it is another, whatever it is called.
    box = strict.containers.create(config(command=("true",)))
    box.commit("busybox")
    assert rule_against(strict, image="busybox") == "images"
    allowed(strict, image=image.id).remove(force=True)


def test_images_by_name(engine: Engine, under: Under) -> None:
    image = engine.images.get("busybox").record
    strict = under("[images]\nreferences = ['busybox:latest']")
    kept = allowed(strict, image=image.id[7:19], name="kept")
    named = allowed(strict, name="named")
    engine.images.tag("busybox", "safe/box")
    engine.images.remove("busybox", force=True)
    assert rule_against(strict, image="safe/box") == "images"
    assert rule_against(strict, image=image.id) == "images"
    for container in (kept, named):
        container.stop(timeout=0)
    # What was asked for by that name had it; what was asked for by its id has none any more.
    named.start()
    assert refusal(kept.start).rule == "images"
    for container in (kept, named):
        container.remove(force=True)


@pytest.mark.parametrize(
    ("pattern", "is_allowed"),
    [
        ("registry.example.org/team/box:*", True),
        ("registry.example.org/team/*:*", True),
        ("registry.example.org/team/box", True),
        ("registry.example.org/team/box:v1", False),
        ("registry.example.org/team/*:[0-9a-f]*", False),  # which the digest is none of
        ("registry.example.org/other/*:*", False),
        ("registry.example.org/team/box@DIGEST", True),
        ("registry.example.org/team/*@sha256:0*", False),
    ],
)
def test_images_that_have_no_name_but_a_digest_of_a_registry(
    engine: Engine, under: Under, pattern: str, is_allowed: bool
) -> None:
    image = engine.images.get("busybox").record
    digest = "sha256:" + "ab" * 32
    known = replace(image, repo_digests=(f"registry.example.org/team/box@{digest}",))
    engine.index.add(known)
    strict = under(f"[images]\nreferences = ['{pattern.replace('DIGEST', digest)}']")
    engine.images.tag("busybox", "other/name")
    engine.images.remove("busybox", force=True)
    for asked in (image.id, "other/name"):
        if is_allowed:
            allowed(strict, image=asked).remove(force=True)
        else:
            assert rule_against(strict, image=asked) == "images"


def test_nothing_goes_under_a_file_that_cannot_be_trusted(under: Under) -> None:
    engine = under("[containers]\nnon_root = true")
    container = engine.containers.create(config(user="1000"))
    path = Path(engine.settings.policy or "")
    path.chmod(0o666)
    assert refusal(container.start).rule == ""
    assert refusal(lambda: engine.containers.create(config(user="1000"))).rule == ""
    info = engine.info()
    assert info["PolicyFiles"] == [str(path)]
    assert any("others can write" in line for line in info["Warnings"])
    path.unlink()
    assert "No such file" in str(refusal(container.start))
    path.write_text("")
    container.start()
    assert engine.info()["PolicyFiles"] == [str(path)]
    container.remove(force=True)
