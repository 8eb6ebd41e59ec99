"""The OCI spec of a container: whole ones against golden files, rules one by one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.engine.model import BindMount, ContainerConfig, Limits, ThrottleDevice, Tmpfs
from knarr.engine.security.users import ResolvedUser
from knarr.engine.specbuild import BuildContext, DeviceNode, build_spec, stop_signal
from knarr.errors import InvalidArgument, KnarrError, Unsupported
from knarr.runtime.seccomp import compile  # noqa: A004
from knarr.spec import capabilities

GOLDEN = Path(__file__).parent / "golden"
ID = "0123456789ab" + "cd" * 26
FILES = {
    "/etc/resolv.conf": f"/var/lib/knarr/containers/{ID}/resolv.conf",
    "/etc/hostname": f"/var/lib/knarr/containers/{ID}/hostname",
    "/etc/hosts": f"/var/lib/knarr/containers/{ID}/hosts",
}
CONTEXT = BuildContext(
    id=ID, cgroups_path=f"/knarr/{ID}", files=FILES, machine="x86_64", kernel=(6, 12),
    cpu_count=2, cpus="0-1", mems="0", user=ResolvedUser(),
)  # fmt: skip
USERNS = replace(CONTEXT, id_range=(1_000_000, 65536))
CONFIG = ContainerConfig(image="busybox", command=("sh",))
IMAGE: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "Env": ["PATH=/opt/bin:/bin", "LANG=C.UTF-8", "MODE=image"],
        "Entrypoint": ["/entry.sh"],
        "Cmd": ["serve"],
        "WorkingDir": "/srv",
        "StopSignal": "SIGQUIT",
    },
}
GOLDEN_CASES: dict[str, tuple[ContainerConfig, dict[str, Any], BuildContext]] = {
    "default": (CONFIG, {}, CONTEXT),
    "userns": (CONFIG, {}, USERNS),
    "image-tty": (
        ContainerConfig(
            image="app", tty=True, hostname="web", domainname="example.org",
            env=("MODE=mine", "LANG", "EXTRA=1"), annotations={"org.example.key": "value"},
        ),
        IMAGE,
        replace(USERNS, console_size=(24, 80), user=ResolvedUser(33, 33, (33, 4), "/var/www")),
    ),
    "privileged": (
        replace(CONFIG, privileged=True),
        {},
        replace(CONTEXT, host_devices=(
            DeviceNode("/dev/fuse", "c", 10, 229, 0o666),
            DeviceNode("/dev/sda", "b", 8, 0, 0o660, 0, 6),
        )),
    ),
    "limits": (
        replace(
            CONFIG,
            limits=Limits(
                memory=64 << 20, memory_reservation=32 << 20, nano_cpus=1_500_000_000,
                cpu_shares=512, cpuset_cpus="0-1", cpuset_mems="0", pids=100, blkio_weight=300,
                device_read_bps=(ThrottleDevice("/dev/sda", 1 << 20),),
                device_write_iops=(ThrottleDevice("/dev/sda", 100),),
            ),
        ),
        {},
        replace(CONTEXT, device_numbers={"/dev/sda": (8, 0)}),
    ),
    "mounts": (
        replace(
            CONFIG,
            read_only=True,
            binds=(
                BindMount("/srv/data", "/data/deep", read_only=True),
                BindMount("/srv/flat", "/data", recursive=False, read_only=True),
                BindMount("/srv/shared", "/shared", propagation="rshared"),
                BindMount("/srv/hosts", "/etc/hosts"),
            ),
            tmpfs=(Tmpfs("/run"), Tmpfs("/tmp", ("exec,size=64m", "mode=1777"))),
            shm_size=1 << 20,
        ),
        {},
        CONTEXT,
    ),
    "sandbox": (
        ContainerConfig(
            image="app", sandbox=True, network="none", cap_drop=("ALL",),
            security_opt=("no-new-privileges", "systempaths=unconfined", "seccomp=unconfined"),
        ),
        IMAGE,
        USERNS,
    ),
    "host": (
        replace(CONFIG, network="host", userns="host", init=True, cap_add=("SYS_ADMIN",)),
        {},
        replace(CONTEXT, hostname="machine"),
    ),
}  # fmt: skip


def without_profile(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec with its seccomp rules counted: they have tests of their own."""
    copy: dict[str, Any] = json.loads(json.dumps(spec))
    seccomp = copy["linux"].get("seccomp")
    if seccomp is not None:
        seccomp["syscalls"] = f"{sum(len(rule['names']) for rule in seccomp['syscalls'])} names"
    return copy


@pytest.mark.parametrize("name", GOLDEN_CASES)
def test_golden(name: str) -> None:
    """Compare with golden/NAME.json; KNARR_WRITE_GOLDEN=1 writes the files anew."""
    spec = without_profile(build_spec(*GOLDEN_CASES[name]))
    path = GOLDEN / f"{name}.json"
    if os.environ.get("KNARR_WRITE_GOLDEN"):
        path.write_text(json.dumps(spec, indent=2) + "\n")
    assert spec == json.loads(path.read_text())


def process(config: ContainerConfig, image: dict[str, Any] | None = None) -> dict[str, Any]:
    result: dict[str, Any] = build_spec(config, image or {}, CONTEXT)["process"]
    return result


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, (), ["/entry.sh", "serve"]),
        (None, ("x", "y"), ["/entry.sh", "x", "y"]),
        (("/bin/sh", "-c"), (), ["/bin/sh", "-c"]),
        (("/bin/sh",), ("x",), ["/bin/sh", "x"]),
        ((), (), ["serve"]),
        ((), ("x",), ["x"]),
        (("",), ("x",), ["x"]),
    ],
)
def test_entrypoint_and_command(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...], expected: list[str]
) -> None:
    config = ContainerConfig(image="app", entrypoint=entrypoint, command=command)
    assert process(config, IMAGE)["args"] == expected


@pytest.mark.parametrize("entrypoint", [None, ("",)])
def test_nothing_to_run(entrypoint: tuple[str, ...] | None) -> None:
    image = {} if entrypoint is None else IMAGE
    with pytest.raises(InvalidArgument, match=r"^no command specified$"):
        process(ContainerConfig(image="app", entrypoint=entrypoint), image)


def test_init_comes_first_and_a_sandbox_is_init_alone() -> None:
    assert process(replace(CONFIG, init=True))["args"] == ["/dev/init", "--", "sh"]
    assert process(replace(CONFIG, sandbox=True), IMAGE)["args"] == ["/dev/init"]
    assert process(ContainerConfig(image="x", sandbox=True))["args"] == ["/dev/init"]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (
            (),
            ["PATH=/opt/bin:/bin", "HOSTNAME=0123456789ab", "LANG=C.UTF-8", "MODE=image", "HOME=/"],
        ),
        (
            ("MODE=mine", "NEW=1"),
            ["PATH=/opt/bin:/bin", "HOSTNAME=0123456789ab", "MODE=mine", "NEW=1", "LANG=C.UTF-8",
             "HOME=/"],
        ),
        (("PATH", "MODE", "LANG", "HOSTNAME"), ["HOME=/"]),
        (
            ("A=1", "A=2", "HOME=/x", "PATH=/p"),
            ["PATH=/p", "HOSTNAME=0123456789ab", "A=2", "HOME=/x", "LANG=C.UTF-8", "MODE=image"],
        ),
        (("HOME", "PATH", "LANG", "MODE=a=b"), ["HOSTNAME=0123456789ab", "MODE=a=b"]),
    ],
)  # fmt: skip
def test_environment(own: tuple[str, ...], expected: list[str]) -> None:
    assert process(replace(CONFIG, env=own), IMAGE)["env"] == expected


def test_environment_without_an_image_has_the_default_path() -> None:
    env = process(replace(CONFIG, tty=True))["env"]
    assert env[0] == "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert "TERM=xterm" in env


@pytest.mark.parametrize("entry", ["=x", "", "A\0B=1"])
def test_bad_variables(entry: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid environment variable"):
        process(replace(CONFIG, env=(entry,)))


@pytest.mark.parametrize("path", ["relative", "./x", "/a\0b"])
def test_working_directory_must_be_absolute(path: str) -> None:
    with pytest.raises(InvalidArgument, match="is invalid, it needs to be an absolute path"):
        process(replace(CONFIG, working_dir=path))
    assert process(CONFIG, IMAGE)["cwd"] == "/srv"
    assert process(replace(CONFIG, working_dir="/x"), IMAGE)["cwd"] == "/x"


@pytest.mark.parametrize(
    ("name", "message"),
    [("x" * 65, "is too long"), ("a b", "invalid hostname"), ("a\nb", "invalid hostname"),
     ("a\0", "invalid hostname"), ("a/b", "invalid hostname")],
)  # fmt: skip
def test_host_names_that_would_break_files(name: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        build_spec(replace(CONFIG, hostname=name), {}, CONTEXT)


@pytest.mark.parametrize(
    ("key", "value"), [("Env", "A=1"), ("Cmd", "sh"), ("Entrypoint", [1]), ("WorkingDir", 5)]
)
def test_hostile_image_configuration(key: str, value: object) -> None:
    with pytest.raises(InvalidArgument):
        build_spec(ContainerConfig(image="x"), {"config": {"Cmd": ["sh"], key: value}}, CONTEXT)


def test_stop_signal() -> None:
    assert stop_signal(CONFIG, {}) == 15
    assert stop_signal(CONFIG, IMAGE) == 3
    assert stop_signal(replace(CONFIG, stop_signal="RTMIN+3"), IMAGE) == 37
    with pytest.raises(InvalidArgument, match="invalid signal: WHAT"):
        build_spec(replace(CONFIG, stop_signal="WHAT"), {}, CONTEXT)


def mounts(config: ContainerConfig, context: BuildContext = CONTEXT) -> dict[str, dict[str, Any]]:
    return {m["destination"]: m for m in build_spec(config, {}, context)["mounts"]}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            replace(CONFIG, binds=(BindMount("/a", "/x"), BindMount("/b", "/x/"))),
            "Duplicate mount point: /x",
        ),
        (
            replace(CONFIG, binds=(BindMount("/a", "/x"),), tmpfs=(Tmpfs("/x"),)),
            "Duplicate mount point: /x",
        ),
        (
            replace(CONFIG, binds=(BindMount("/a", "x"),)),
            "invalid mount path: 'x' mount path must be absolute",
        ),
        (
            replace(CONFIG, binds=(BindMount("a", "/x"),)),
            "invalid mount path: 'a' mount path must be absolute",
        ),
        (
            replace(CONFIG, binds=(BindMount("/a", "/x/.."),)),
            "invalid specification: destination can't be '/'",
        ),
        (
            replace(CONFIG, tmpfs=(Tmpfs("//"),)),
            "invalid specification: destination can't be '/'",
        ),
        (
            replace(CONFIG, binds=(BindMount("/a", "/proc/self/attr"),)),
            '"/proc/self/attr" cannot be mounted because it is inside /proc',
        ),
        (
            replace(CONFIG, tmpfs=(Tmpfs("/sys/../proc/sys"),)),
            '"/proc/sys" cannot be mounted because it is inside /proc',
        ),
        (
            replace(CONFIG, binds=(BindMount("/a", "/proc/."),)),
            '"/a" cannot be mounted on "/proc": procfs is needed there for network parameters',
        ),
        (
            replace(CONFIG, binds=(BindMount("/a", "/x", propagation="odd"),)),
            "invalid propagation mode: odd",
        ),
        (replace(CONFIG, tmpfs=(Tmpfs("/x", ("what",)),)), "invalid tmpfs option: what"),
        (replace(CONFIG, tmpfs=(Tmpfs("/x", ("remount",)),)), "invalid tmpfs option: remount"),
        (replace(CONFIG, tmpfs=(Tmpfs("/x", ("size=",)),)), "invalid tmpfs option: size="),
        (replace(CONFIG, shm_size=-1), "SHM size can not be less than 0"),
    ],
)
def test_mounts_that_are_refused(config: ContainerConfig, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        build_spec(config, {}, CONTEXT)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("given_options", "expected"),
    [
        ((), ["noexec", "nosuid", "nodev", "rprivate"]),
        (("exec",), ["nosuid", "nodev", "rprivate", "exec"]),
        (("exec,noexec",), ["nosuid", "nodev", "rprivate", "noexec"]),
        (("size=1m", "size=2m"), ["noexec", "nosuid", "nodev", "rprivate", "size=2m"]),
        (("rw", "defaults", "shared"), ["noexec", "nosuid", "nodev", "rw", "shared"]),
        (("uid=5,gid=6,mode=700",), ["noexec", "nosuid", "nodev", "rprivate", "uid=5", "gid=6",
                                     "mode=700"]),
    ],
)  # fmt: skip
def test_tmpfs_options(given_options: tuple[str, ...], expected: list[str]) -> None:
    config = replace(CONFIG, tmpfs=(Tmpfs("/x", given_options),))
    assert mounts(config)["/x"]["options"] == expected


def test_own_mount_replaces_the_default_one() -> None:
    found = mounts(replace(CONFIG, binds=(BindMount("/dev", "/dev"),)))
    assert found["/dev"]["type"] == "bind"
    assert not [path for path in found if path.startswith("/dev/")]
    assert mounts(replace(CONFIG, tmpfs=(Tmpfs("/dev/shm"),)))["/dev/shm"]["source"] == "tmpfs"


def test_files_over_proc_that_are_harmless() -> None:
    assert "/proc/cpuinfo" in mounts(replace(CONFIG, binds=(BindMount("/c", "/proc/cpuinfo"),)))


def test_old_kernel_has_no_recursive_read_only() -> None:
    config = replace(CONFIG, binds=(BindMount("/a", "/x", read_only=True),))
    old = replace(CONTEXT, kernel=(5, 10))
    assert mounts(config)["/x"]["options"] == ["rbind", "rro", "rprivate"]
    assert mounts(config, old)["/x"]["options"] == ["rbind", "ro", "rprivate"]


def test_parents_are_mounted_before_what_lies_below() -> None:
    targets = ("/a/b/c", "/a", "/a/b", "/z")
    config = replace(CONFIG, binds=tuple(BindMount("/s", target) for target in targets))
    order = [m["destination"] for m in build_spec(config, {}, CONTEXT)["mounts"]]
    for path in order:
        parents = [other for other in order if path.startswith(other + "/")]
        assert all(order.index(parent) < order.index(path) for parent in parents)


def test_propagation_of_the_root_follows_the_widest_mount() -> None:
    def root(*modes: str) -> str:
        binds = tuple(BindMount("/a", f"/{i}", propagation=m) for i, m in enumerate(modes))
        spec = build_spec(replace(CONFIG, binds=binds), {}, CONTEXT)
        result: str = spec["linux"]["rootfsPropagation"]
        return result

    assert [root(), root("rslave"), root("slave", "rshared")] == ["private", "slave", "shared"]


def test_privileged_has_everything_and_no_filter() -> None:
    linux = build_spec(replace(CONFIG, privileged=True), {}, CONTEXT)["linux"]
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & set(linux)
    chosen = replace(CONFIG, privileged=True, security_opt=("seccomp=builtin",))
    assert "seccomp" in build_spec(chosen, {}, CONTEXT)["linux"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (replace(CONFIG, privileged=True), "privileged mode is incompatible with user namespaces"),
        (replace(CONFIG, network="host"), "cannot share the host's network namespace"),
        (replace(CONFIG, security_opt=("writable-cgroups",)), "conflicts with user namespaces"),
        (replace(CONFIG, userns="odd"), "invalid USER mode: odd"),
    ],
)
def test_what_a_user_namespace_excludes(config: ContainerConfig, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        build_spec(config, {}, USERNS)


def test_what_this_machine_or_release_cannot_give() -> None:
    with pytest.raises(Unsupported, match="cannot give containers one"):
        build_spec(replace(CONFIG, userns="private"), {}, CONTEXT)


def test_joined_namespaces() -> None:
    context = replace(CONTEXT, namespaces={"network": "/run/netns/x"})
    linux = build_spec(CONFIG, {}, context)["linux"]
    assert {"type": "network", "path": "/run/netns/x"} in linux["namespaces"]
    assert "sysctl" not in linux


def test_ping_groups_end_with_the_mapped_ones() -> None:
    assert build_spec(CONFIG, {}, CONTEXT)["linux"]["sysctl"] == {
        "net.ipv4.ping_group_range": "0 2147483647",
        "net.ipv4.ip_unprivileged_port_start": "0",
    }
    sysctl = build_spec(CONFIG, {}, USERNS)["linux"]["sysctl"]
    assert sysctl["net.ipv4.ping_group_range"] == "0 65535"


def test_apparmor() -> None:
    wanted = replace(CONFIG, security_opt=("apparmor=mine",))
    active = replace(CONTEXT, apparmor=True)
    assert build_spec(wanted, {}, active)["process"]["apparmorProfile"] == "mine"
    with pytest.raises(Unsupported, match="AppArmor is not active"):
        build_spec(wanted, {}, CONTEXT)
    off = replace(CONFIG, security_opt=("apparmor=unconfined",))
    assert "apparmorProfile" not in build_spec(off, {}, CONTEXT)["process"]
    assert build_spec(off, {}, active)["process"]["apparmorProfile"] == "unconfined"


def test_apparmor_by_default() -> None:
    loaded = replace(CONTEXT, apparmor=True, apparmor_default="knarr-default")
    assert build_spec(CONFIG, {}, loaded)["process"]["apparmorProfile"] == "knarr-default"
    free = build_spec(replace(CONFIG, privileged=True), {}, loaded)["process"]
    assert "apparmorProfile" not in free


def test_paths_that_are_hidden_and_not_to_be_written() -> None:
    linux = build_spec(CONFIG, {}, replace(CONTEXT, masked=("/sys/throttle",)))["linux"]
    assert "/proc/kcore" in linux["maskedPaths"]
    assert linux["maskedPaths"][-1] == "/sys/throttle"
    assert "/proc/sys" in linux["readonlyPaths"]
    bare = replace(CONFIG, security_opt=("systempaths=unconfined",))
    assert not {"maskedPaths", "readonlyPaths"} & set(build_spec(bare, {}, CONTEXT)["linux"])


def profile_of(option: str, context: BuildContext = CONTEXT) -> Any:
    spec = build_spec(replace(CONFIG, security_opt=(option,)), {}, context)
    return spec["linux"].get("seccomp")


NOTIFYING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}],
}


def test_seccomp_choices() -> None:
    text = json.dumps({"defaultAction": "SCMP_ACT_LOG"})
    assert profile_of("seccomp=unconfined") is None
    assert profile_of("seccomp=builtin") == build_spec(CONFIG, {}, CONTEXT)["linux"]["seccomp"]
    assert profile_of(f"seccomp={text}")["defaultAction"] == "SCMP_ACT_LOG"
    known = replace(CONTEXT, profiles={"/p.json": text})
    assert profile_of("seccomp=/p.json", known)["defaultAction"] == "SCMP_ACT_LOG"


@pytest.mark.parametrize(
    ("option", "error", "text"),
    [
        ("seccomp=/missing", InvalidArgument, "opening seccomp profile"),
        ("seccomp={", InvalidArgument, "Decoding seccomp profile failed"),
        ('seccomp={"defaultAction":"ODD"}', InvalidArgument, "unknown action 'ODD'"),
        (
            "seccomp=" + json.dumps(NOTIFYING),
            Unsupported,
            "needs a listener",
        ),
    ],
)
def test_seccomp_profiles_that_are_refused(option: str, error: type[KnarrError], text: str) -> None:
    with pytest.raises(error, match=text):
        profile_of(option)


def test_capabilities_are_never_inheritable() -> None:
    config = replace(CONFIG, cap_add=("ALL",))
    found = build_spec(config, {}, CONTEXT)["process"]["capabilities"]
    assert found["inheritable"] == found["ambient"] == []
    assert found["bounding"] == found["effective"] == found["permitted"]
    assert found["bounding"] == list(capabilities.NAMES)


NAMES = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
PATHS = st.lists(st.sampled_from(["a", "b", "..", ".", "", "proc", "dev"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
CONFIGS = st.builds(
    ContainerConfig,
    image=st.just("x"),
    command=st.lists(NAMES, max_size=2).map(tuple),
    env=st.lists(st.builds("{}={}".format, NAMES, NAMES) | NAMES, max_size=4).map(tuple),
    tty=st.booleans(),
    init=st.booleans(),
    sandbox=st.booleans(),
    read_only=st.booleans(),
    privileged=st.booleans(),
    network=st.sampled_from([None, "none", "host"]),
    cap_add=st.lists(st.sampled_from(["ALL", "KILL", "CAP_SYS_ADMIN"]), max_size=2).map(tuple),
    cap_drop=st.lists(st.sampled_from(["ALL", "KILL"]), max_size=2).map(tuple),
    binds=st.lists(st.builds(BindMount, source=st.just("/s"), target=PATHS), max_size=3).map(tuple),
    tmpfs=st.lists(st.builds(Tmpfs, target=PATHS), max_size=2).map(tuple),
    limits=st.builds(
        Limits,
        memory=st.none() | st.integers(-1, 1 << 40),
        memory_swap=st.none() | st.integers(-2, 1 << 40),
        nano_cpus=st.none() | st.integers(-1, 4 * 10**9),
        pids=st.none() | st.integers(-5, 5),
    ),
)


@settings(max_examples=150)
@given(config=CONFIGS, context=st.sampled_from([CONTEXT, USERNS]))
def test_any_configuration_gives_a_sound_spec_or_an_error(
    config: ContainerConfig, context: BuildContext
) -> None:
    try:
        spec = build_spec(config, {}, context)
    except KnarrError as error:
        assert str(error)
        assert "\n" not in str(error)
        return
    assert json.loads(json.dumps(spec)) == spec
    assert build_spec(config, {}, context) == spec
    assert spec["process"]["args"]
    assert spec["process"]["args"][0]
    variables = [entry.partition("=")[0] for entry in spec["process"]["env"]]
    assert len(set(variables)) == len(variables)
    targets = [mount["destination"] for mount in spec["mounts"]]
    assert len(set(targets)) == len(targets)
    assert all(t.startswith("/") and t != "/" and ".." not in t.split("/") for t in targets)
    memory = spec["linux"]["resources"].get("memory", {})
    assert memory.get("limit", 0) <= memory.get("swap", 1 << 62)
    if not config.privileged:
        assert "seccomp" in spec["linux"]
        assert "/proc/kcore" in spec["linux"]["maskedPaths"]


def test_default_filter_compiles() -> None:
    profile = build_spec(CONFIG, {}, CONTEXT)["linux"]["seccomp"]
    assert compile(profile, "x86_64")
