"""Attacks on the runtime. Each test tries one; it passes when the attack fails."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from knarr.cgroups import manager
from knarr.supervisor.client import LaunchFailed
from tests.integration.runtime.test_filesystem import mount, with_caps
from tests.support.launch import Box, Edit, Running, Spec, spec
from tests.support.waiting import wait_until

INTERPRETER = os.path.realpath(sys.executable)


def without_mounts(*destinations: str) -> Edit:
    def edit(made: Spec) -> None:
        made["mounts"] = [m for m in made["mounts"] if m["destination"] not in destinations]

    return edit


# The interpreter and whatever else of the host a joining process carries.

# Runs inside: looks at every process of knarr that shows, until told to end. What it finds
# counts when the process has not become the container's own program meanwhile. Then it has
# another name, and a moment earlier, still under the old one, execve(2) has given it the
# program's own memory: less than this shell's, for nothing is in it yet.
_HOSTILE = r"""
read own rest < /proc/self/statm
got() {
  read size rest < $p/statm && [ "$size" -gt "$own" ] || return
  read after < $p/comm && case "$after" in knarr*) echo "$1" >> /got ;; esac
} 2>/dev/null
while [ ! -e /stop ]; do
  for p in /proc/[0-9]*; do
    read name 2>/dev/null < $p/comm || continue
    case "$name" in knarr*) ;; *) continue ;; esac
    echo "$name" >> /seen
    readlink $p/exe >/dev/null 2>&1 && got exe
    readlink $p/cwd >/dev/null 2>&1 && got cwd
    readlink $p/root >/dev/null 2>&1 && got root
    for n in 0 1 2 3 4 5 6 7 8 9; do readlink $p/fd/$n >/dev/null 2>&1 && got fd; done
    for m in $p/map_files/*; do [ -e "$m" ] && got map_files && break; done
    [ -n "$(head -c 1 $p/environ 2>/dev/null)" ] && got environ
    [ -n "$(head -c 1 $p/maps 2>/dev/null)" ] && got maps
    ( : >> $p/exe ) 2>/dev/null && got write
  done
done
exit 0
"""


@pytest.mark.vm
@pytest.mark.parametrize(
    ("userns", "edit"),
    [(True, None), (False, None), (True, with_caps)],
    ids=["userns", "host-ids", "userns-with-ptrace"],
)
def test_a_joining_process_shows_nothing_to_a_hostile_one(
    box: Box, userns: bool, edit: Edit | None
) -> None:
    """CVE-2016-9962, CVE-2019-5736: the process of an exec is watched from inside all along."""
    before = Path(INTERPRETER).stat()
    one = box.start("sleep", "1000", userns=userns, edit=edit)
    caps = spec("x")["process"]["capabilities"]
    if edit is not None:
        caps = one.box.request("x", edit=edit)["spec"]["process"]["capabilities"]
    watchers = [one.exec("sh", "-c", _HOSTILE, fds=_nulls(), capabilities=caps) for _ in range(2)]
    for _ in range(30):
        try:
            one.run("true")
        except LaunchFailed as error:  # the watchers may open busybox itself, before Linux 5.16
            assert "text file busy" in error.message
        with pytest.raises(LaunchFailed):
            one.run("missing")
    assert one.run("touch", "/stop") == (0, b"")
    for session in watchers:
        assert session.wait()["exit_code"] == 0
        session.close()
    seen = one.run("sh", "-c", "wc -l < /seen")[1]
    assert int(seen) > 0
    assert one.run("sh", "-c", "sort /got 2>/dev/null | uniq -c") == (0, b"")
    after = Path(INTERPRETER).stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)


def _nulls() -> list[int]:
    return [os.open("/dev/null", os.O_RDWR)] * 3


@pytest.mark.vm
@pytest.mark.parametrize("userns", [True, False])
@pytest.mark.parametrize(
    "command",
    ["/proc/self/exe", "/proc/self/../self/exe", "/link", "/proc/thread-self/exe", "/proc/1/exe"],
)
def test_the_runtime_does_not_execute_itself(box: Box, userns: bool, command: str) -> None:
    """CVE-2019-5736: the interpreter must not run with the image's libraries."""
    layer = box.layer()
    (layer / "link").symlink_to("/proc/self/exe")
    with pytest.raises(LaunchFailed) as caught:
        box.run(command, "-c", "print('EVIL')", userns=userns, layers=(layer,))
    assert caught.value.kind == "not-executable"
    one = box.start("sleep", "1000", userns=userns, layers=(layer,))
    if command != "/proc/1/exe":  # which is the image's own program there
        with pytest.raises(LaunchFailed):
            one.run(command, "-c", "print('EVIL')")


@pytest.mark.vm
def test_a_script_whose_interpreter_is_proc_self_exe_cannot_overwrite_it(box: Box) -> None:
    """The kernel follows a script's first line; what it then runs is on a read-only mount."""
    before = Path(INTERPRETER).stat()
    layer = box.layer()
    (layer / "evil").write_text("#!/proc/self/exe -c open('/proc/self/exe','r+b')\n")
    (layer / "evil").chmod(0o755)
    try:
        done = box.run("/evil", layers=(layer,), userns=False)
        assert b"EVIL" not in done.out
    except LaunchFailed as error:
        assert error.kind in ("not-found", "not-executable")
    after = Path(INTERPRETER).stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)


@pytest.mark.vm
def test_the_launcher_runs_from_a_file_that_nobody_can_write(box: Box) -> None:
    box.run("true")
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if box.settings.run_root.encode() in words and b"supervisor.launcher" in words:
            with pytest.raises(OSError) as caught:
                os.close(os.open(f"/proc/{entry}/exe", os.O_RDWR))
            assert caught.value.errno in (30, 26)
            return
    pytest.fail("no launcher found")


@pytest.mark.parametrize("userns", [True, False])
@pytest.mark.parametrize("number", range(3, 24))
def test_no_leaked_directory_as_working_directory(box: Box, userns: bool, number: int) -> None:
    """CVE-2024-21626: /proc/self/fd/N of the runtime's own descriptors."""
    with pytest.raises(LaunchFailed):
        box.run(
            "sh",
            "-c",
            "cat etc/shadow; ls",
            userns=userns,
            edit=lambda s: s["process"].update(cwd=f"/proc/self/fd/{number}"),
        )


@pytest.mark.parametrize("userns", [True, False])
def test_no_leaked_directory_through_a_link_of_the_image(box: Box, userns: bool) -> None:
    layer = box.layer()
    for number in range(3, 24):
        (layer / f"cwd{number}").symlink_to(f"/proc/self/fd/{number}")
    one = box.start("sleep", "1000", layers=(layer,), userns=userns)
    for number in range(3, 24):
        with pytest.raises(LaunchFailed):
            one.run("ls", cwd=f"/cwd{number}")
        with pytest.raises(LaunchFailed):
            one.run("ls", cwd=f"/proc/self/fd/{number}")


def test_descriptors_of_the_caller_do_not_reach_the_container(box: Box) -> None:
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(50)]
    try:
        for fd in leaked:
            os.set_inheritable(fd, True)
        assert box.sh("exec ls /proc/self/fd").split() == ["0", "1", "2", "3"]
        one = box.start("sleep", "1000")
        assert one.run("sh", "-c", "exec ls /proc/self/fd")[1].split() == [b"0", b"1", b"2", b"3"]
    finally:
        for fd in leaked:
            os.close(fd)


# Images that lie about their directories.


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "sys/fs/cgroup", "dev/pts", "dev/mqueue"])
@pytest.mark.parametrize("userns", [True, False])
def test_a_system_directory_that_is_a_link_to_the_host(box: Box, name: str, userns: bool) -> None:
    """CVE-2019-19921, CVE-2026-41579: nothing of the host's tree may change."""
    trap = box.folder("trap")
    layer = box.layer()
    link = layer / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(trap)
    gone = without_mounts("/dev", "/sys") if "/" in name else without_mounts()
    try:
        box.run("true", layers=(layer,), userns=userns, edit=gone)
    except LaunchFailed as error:
        assert error.kind == "error"
    assert os.listdir(trap) == []


def test_dev_links_and_nodes_stay_inside(box: Box) -> None:
    trap = box.folder("trap")
    (trap / "target").write_text("host")
    layer = box.layer()
    (layer / "dev").mkdir()
    for name in ("null", "zero", "console", "fd", "ptmx", "stdin", "tty"):
        (layer / "dev" / name).symlink_to(trap / "target")
    for userns in (None, False):
        try:
            box.run(
                "true",
                layers=(layer,),
                userns=userns,
                tty=True,
                edit=without_mounts("/dev", "/dev/mqueue", "/dev/shm"),
            )
        except LaunchFailed:
            continue
    assert (trap / "target").read_text() == "host"
    assert os.listdir(trap) == ["target"]


@pytest.mark.parametrize("kind", ["fifo", "file", "host", "loop"])
def test_a_false_ptmx(box: Box, kind: str) -> None:
    """CVE-2025-52565: the terminal comes from a devpts or from nowhere."""
    layer = box.layer()
    (layer / "dev/pts").mkdir(parents=True)
    target = layer / "dev/pts/ptmx"
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "file":
        target.touch()
    else:
        target.symlink_to("/dev/ptmx" if kind == "host" else "ptmx")
    with pytest.raises(LaunchFailed) as caught:
        box.run(
            "true",
            layers=(layer,),
            tty=True,
            edit=without_mounts("/dev", "/dev/pts", "/dev/mqueue", "/dev/shm"),
        )
    assert caught.value.kind == "error"


@pytest.mark.parametrize(
    "link",
    [
        "/../../../../../../etc",
        "../../../../../../../../etc",
        "/proc/self/root/etc",
        "/proc/1/root",
        "/proc/self/cwd",
    ],
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_a_mount_destination_that_is_a_link(box: Box, link: str, kind: str) -> None:
    """CVE-2021-30465: the destination is resolved inside the root, and once."""
    before = sorted(os.listdir("/etc"))
    volume = box.folder("volume")
    layer = box.layer()
    (layer / "mnt").symlink_to(link)
    entry = (
        mount("/mnt/deep/er", str(volume))
        if kind == "bind"
        else mount("/mnt/deep/er", "tmpfs", "tmpfs")
    )
    try:
        box.run(
            "touch", "/mnt/deep/er/mark", layers=(layer,), edit=lambda s: s["mounts"].append(entry)
        )
    except LaunchFailed as error:
        assert error.kind == "error"
    assert sorted(os.listdir("/etc")) == before


def test_a_destination_that_climbs_is_refused(box: Box) -> None:
    for destination in ("/../../etc", "/a/../../etc", "../x"):
        with pytest.raises(LaunchFailed) as caught:
            box.run("true", edit=lambda s, d=destination: s["mounts"].append(mount(d, "/tmp")))
        assert caught.value.kind == "invalid"


@pytest.mark.parametrize(
    "destination",
    ["/proc", "/proc/sys", "/proc/self/attr", "/proc//1/../sys", "/proc/./sysrq-trigger"],
)
def test_nothing_stands_in_for_proc(box: Box, destination: str) -> None:
    """CVE-2019-16884: a false /proc would take the label of a security module."""
    with pytest.raises(LaunchFailed) as caught:
        box.run("true", edit=lambda s: s["mounts"].append(mount(destination, "tmpfs", "tmpfs")))
    assert caught.value.kind == "invalid"


def test_a_directory_swapped_while_containers_start(box: Box) -> None:
    """CVE-2021-30465: a volume that a running container shares changes under the runtime."""
    volume = box.folder("volume")
    trap = box.folder("trap")
    (volume / "a").mkdir()
    (volume / "b").symlink_to(f"/../../../..{trap}")
    stop = threading.Event()

    def swap() -> None:
        a, b, c = (str(volume / name) for name in "abc")
        while not stop.is_set():
            try:
                os.rename(a, c)
                os.rename(b, a)
                os.rename(c, b)
            except OSError:
                # The runtime has just made what was missing, or mounted on it.
                for name in (a, b, c):
                    if os.path.isdir(name) and not os.path.islink(name):
                        shutil.rmtree(name, ignore_errors=True)
                    else:
                        Path(name).unlink(missing_ok=True)
                os.mkdir(a)
                os.symlink(f"/../../../..{trap}", b)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(25):
            try:
                box.run(
                    "sh",
                    "-c",
                    "touch /data/a/in/mark; true",
                    edit=lambda s: s["mounts"].extend(
                        [mount("/data", str(volume)), mount("/data/a/in", "tmpfs", "tmpfs")]
                    ),
                )
            except LaunchFailed as error:
                assert error.kind == "error"
    finally:
        stop.set()
        thread.join()
    assert os.listdir(trap) == []


@pytest.mark.parametrize("where", ["masked", "readonly"])
def test_a_protected_path_that_is_a_link_is_an_error(box: Box, where: str) -> None:
    """CVE-2025-31133: never a mount on what the link leads to, never a silent skip."""
    layer = box.layer()
    (layer / "secret").mkdir()
    (layer / "etc").mkdir()
    (layer / "secret/link").symlink_to("/etc")
    field = "maskedPaths" if where == "masked" else "readonlyPaths"
    with pytest.raises(LaunchFailed) as caught:
        box.run("true", layers=(layer,), edit=lambda s: s["linux"][field].append("/secret/link"))
    assert caught.value.kind == "error"


# Files that name users.


@pytest.mark.parametrize(
    "kind", ["fifo", "host", "fd", "huge", "garbage", "directory", "loop", "device"]
)
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_a_hostile_user_file(box: Box, kind: str, name: str) -> None:
    layer = box.layer()
    (layer / "etc").mkdir()
    target = layer / "etc" / name
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "huge":
        with target.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "garbage":
        target.write_bytes(os.urandom(100_000) + b"\nroot:x:99999999999999:0\n" + b":" * 50_000)
    elif kind == "directory":
        target.mkdir()
    elif kind == "device":
        # The machine's disk would be read; the number of /dev/full shows who opened it.
        os.mknod(target, 0o666 | 0o020000, os.makedev(1, 7))
    else:
        where = {"host": "/../../../../etc/shadow", "fd": "/proc/self/fd/3", "loop": name}[kind]
        target.symlink_to(where)
    for userns in (None, False):
        # Not with id, which would read the files itself.
        words = ("grep", "Uid", "/proc/self/status")
        if kind == "huge":  # who its users are cannot be said by half of it
            with pytest.raises(LaunchFailed, match=f"/etc/{name} in the container has 4194304 b"):
                box.run(*words, layers=(layer,), userns=userns)
        else:
            assert box.run(*words, layers=(layer,), userns=userns).out.split()[1] == b"0"
    with pytest.raises(LaunchFailed):
        box.run(
            "id",
            layers=(layer,),
            edit=lambda s: s["process"]["user"].update({"x-knarr-name": "nobody9"}),
        )


def test_a_name_of_digits_is_never_looked_up(box: Box) -> None:
    """CVE-2016-3697: an image's entry called 1000 with uid 0 is not user 1000."""
    layer = box.layer()
    (layer / "etc").mkdir()
    (layer / "etc/passwd").write_text(
        "1000:x:0:0::/root:/bin/sh\nbig:x:4294967296:0::/:\n"
        "neg:x:-1:0::/:\nhome:x:7:7::/proc/self/cwd:\n"
    )

    def named(name: str) -> Edit:
        return lambda s: s["process"]["user"].update({"x-knarr-name": name})

    assert box.run("id", "-u", layers=(layer,), edit=named("1000")).out == b"1000\n"
    for name in ("big", "neg", "4294967296", "-1", "99999999999", "1:x", "1:2:3"):
        with pytest.raises(LaunchFailed) as caught:
            box.run("id", layers=(layer,), edit=named(name))
        assert caught.value.kind in ("invalid", "error")


def test_a_working_directory_through_a_link_that_leads_out(box: Box) -> None:
    layer = box.layer()
    (layer / "out").symlink_to("/../../../../../..")
    out = box.sh(
        "pwd -P; ls -d root data", layers=(layer,), edit=lambda s: s["process"].update(cwd="/out")
    )
    assert out.split() == ["/", "data", "root"]


# Code of the image that the interpreter could load.


def _evil_modules(layer: Path) -> None:
    """Put modules that leave a mark wherever an interpreter might look for them."""
    code = "open('/IMPORTED', 'w').close()\nraise SystemExit(99)\n"
    library = os.path.dirname(os.__file__)
    source = Path(__file__).resolve().parents[3] / "src"
    for folder in (
        "",
        library,
        f"{library}/lib-dynload",
        f"{library}/encodings",
        str(source),
        f"{source}/knarr",
        f"{source}/knarr/cgroups",
    ):
        target = Path(f"{layer}{folder}") if folder else layer
        target.mkdir(parents=True, exist_ok=True)
        for name in (
            "json",
            "encodings",
            "codecs",
            "traceback",
            "linecache",
            "os",
            "struct",
            "stat",
            "tokenize",
            "resource",
            "fcntl",
            "idna",
            "ascii",
            "utf_8_sig",
            "none",
            "systemd",
            "contextlib",
            "signal",
            "knarr",
            "errors",
        ):
            if not (target / name).exists():
                (target / f"{name}.py").write_text(code)


@pytest.mark.parametrize("userns", [True, False])
def test_no_module_of_the_image_is_loaded(box: Box, userns: bool) -> None:
    layer = box.layer()
    _evil_modules(layer)
    strange: Spec = {
        "env": ["PATH=/bin", "X=\udcff\udcfe", "PYTHONPATH=/", "PYTHONHOME=/", "LANG=xx"]
    }
    one = box.start(
        "sleep", "1000", layers=(layer,), userns=userns, edit=lambda s: s["process"].update(strange)
    )
    one.run("true", cwd="/", **strange)
    for command in ("nope", "/etc/passwd", "/"):
        with pytest.raises(LaunchFailed):
            one.run(command)
        with pytest.raises(LaunchFailed):
            box.run(command, layers=(layer,), userns=userns)
    with pytest.raises(LaunchFailed):
        one.run("true", cwd="/etc/passwd")
    with pytest.raises(LaunchFailed):
        one.run("true", user={"uid": 0, "gid": 0, "x-knarr-name": "n\u00f6body"})
    session = one.exec("sh", "-c", "sleep 1000 & sleep 1000", fds=_nulls())
    session.kill()
    session.wait()
    session.close()
    assert one.run("ls", "/")[1].count(b"IMPORTED") == 0


# Resources, signals, groups.


@pytest.mark.vm
def test_a_fork_bomb_is_killed(box: Box) -> None:
    one = box.start(
        "sh",
        "-c",
        "(while :; do sleep 1000 & done); exec sleep 1000",
        edit=lambda s: s["linux"]["resources"].update(pids={"limit": 64}),
    )
    wait_until(lambda: _tasks(one) >= 62)
    assert one.kill().code == 137
    one.settled()
    assert _tasks(one) == 0


def _tasks(one: Running) -> int:
    kept = one.state["cgroup"]
    try:
        return len(manager.detect(kept["manager"]).open(kept["path"]).procs())
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("userns", [True, False])
def test_its_supervisor_is_out_of_reach(box: Box, userns: bool) -> None:
    one = box.start(
        "sh",
        "-c",
        "kill -9 -1 2>/dev/null; for i in 0 2 3 $PPID 99; do kill -9 $i && echo $i;"
        " done 2>/dev/null; echo ppid $PPID; exit 0",
        userns=userns,
    )
    done = one.exit()
    assert b"ppid 0" in done.out or done.code == 137


def test_supplementary_groups_of_the_host_are_gone(box: Box) -> None:
    out = box.sh(
        "grep Groups /proc/self/status",
        edit=lambda s: s["process"]["user"].update({"x-knarr-name": "alice:staff"}),
    )
    assert out.split()[1:] == ["50"]
    done = box.run("sh", "-c", "cat /proc/self/setgroups")
    assert done.out.strip() in (b"allow", b"deny")


def test_an_exec_in_a_container_without_proc(box: Box) -> None:
    """The runtime needs nothing of the container's /proc."""
    layer = box.layer()
    (layer / "proc/self").mkdir(parents=True)
    (layer / "proc/self/fd").symlink_to("/etc")

    def edit(made: Spec) -> None:
        made["mounts"] = [m for m in made["mounts"] if m["destination"] != "/proc"]
        made["linux"] |= {"maskedPaths": [], "readonlyPaths": []}

    one = box.start("sleep", "1000", layers=(layer,), edit=edit)
    assert one.run("echo", "hello") == (0, b"hello\n")


def test_the_process_of_a_spec_is_not_trusted_with_types(box: Box) -> None:
    changes: Spec
    for changes in (
        {"args": []},
        {"args": [1]},
        {"args": "sh"},
        {"cwd": "relative"},
        {"cwd": ""},
        {"env": [1]},
        {"user": {"uid": "x", "gid": 0}},
        {"rlimits": [{"type": "X"}]},
        {"rlimits": [{"type": "RLIMIT_CPU"}]},
        {"args": ["a\0b"]},
        {"env": ["A=\0"]},
        {"cwd": "/\0"},
        {"scheduler": {"policy": "X"}},
        {"ioPriority": {"class": 1}},
        {"user": {"uid": -1, "gid": 0}},
        {"user": {"uid": 2**32, "gid": 0}},
    ):
        with pytest.raises(LaunchFailed):
            box.run("true", edit=lambda s, c=changes: s["process"].update(c))
    assert box.run("true").code == 0
