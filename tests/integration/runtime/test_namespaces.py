"""Namespaces, ids, names and capabilities of a container's first process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from knarr.spec import capabilities
from knarr.supervisor.client import LaunchFailed
from tests.support.launch import ID_BASE, ID_SIZE, Box, Spec

FILES = ("pid", "net", "ipc", "uts", "mnt", "cgroup", "user")


def links(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())


SHOW = "for n in pid net ipc uts mnt cgroup user; do echo $n $(readlink /proc/self/ns/$n); done"


def test_all_seven_namespaces_are_the_containers_own(box: Box) -> None:
    inside = links(box.sh(SHOW, userns=True))
    assert set(inside) == set(FILES)
    for name in FILES:
        assert inside[name] != os.readlink(f"/proc/self/ns/{name}"), name


def test_without_a_user_namespace_six_are_its_own_and_one_is_the_hosts(box: Box) -> None:
    inside = links(box.sh(SHOW, userns=False))
    assert inside["user"] == os.readlink("/proc/self/ns/user")
    for name in set(FILES) - {"user"}:
        assert inside[name] != os.readlink(f"/proc/self/ns/{name}"), name


def test_ids_are_those_of_the_range(box: Box) -> None:
    one = box.start(
        "sh",
        "-c",
        "cat /proc/self/uid_map /proc/self/gid_map; echo x >/new; echo go; cat",
        stdin=True,
        userns=True,
    )
    one.until(b"go")
    assert one.client is not None
    words = bytes(one.client.out).split()
    assert list(map(int, words[:6])) == [0, ID_BASE, ID_SIZE] * 2
    status = Path(f"/proc/{one.pid}/status").read_text()
    assert f"Uid:\t{ID_BASE}\t{ID_BASE}\t{ID_BASE}\t{ID_BASE}\n" in status
    one.kill()


def test_root_files_belong_to_root_inside_and_to_host_root_on_disk(box: Box) -> None:
    request = box.request(
        "sh",
        "-c",
        "stat -c '%u:%g' /bin/busybox /etc /new; chown 5:6 /new",
        edit=lambda s: s["process"].update(cwd="/new"),
    )
    done = box.send(request).exit()
    assert done.text.split() == ["0:0"] * 3
    upper = next(word for word in request["rootfs"][0]["options"] if word.startswith("upper="))
    made = (box.base / upper.removeprefix("upper=") / "new").stat()
    assert (made.st_uid, made.st_gid) == (5, 6)


def test_an_id_outside_the_range_cannot_be_taken(box: Box) -> None:
    done = box.run("sh", "-c", f"touch /f && chown {ID_SIZE} /f", userns=True)
    assert done.code != 0


def test_host_name(box: Box) -> None:
    assert box.sh("hostname").strip() == "box"


def test_domain_name(box: Box) -> None:
    out = box.sh("cat /proc/sys/kernel/domainname", edit=lambda s: s.update(domainname="sea"))
    assert out.strip() == "sea"


def test_the_cgroup_namespace_begins_at_the_containers_group(box: Box) -> None:
    for line in box.sh("cat /proc/self/cgroup").splitlines():
        path = line.split(":", 2)[2]
        # A hierarchy in which the container has no group of its own shows its parent's place.
        assert path == "/" or box.settings.cgroup_parent not in path, line


def test_the_first_process_is_pid_one_and_sees_only_its_own(box: Box) -> None:
    out = box.sh("echo $$; ls /proc | grep '^[0-9]'").split()
    assert out[0] == "1"
    assert all(int(pid) < 10 for pid in out[1:])


def masks(text: str) -> dict[str, int]:
    found = (line.split(":\t") for line in text.splitlines() if line.startswith("Cap"))
    return {name: int(value, 16) for name, value in found}


@pytest.mark.parametrize("userns", [True, False])
def test_capabilities_are_exactly_those_asked_for(box: Box, userns: bool) -> None:
    wanted = capabilities.mask(capabilities.DEFAULT)
    found = masks(box.sh("cat /proc/self/status", userns=userns))
    assert found == {
        "CapInh": 0,
        "CapPrm": wanted,
        "CapEff": wanted,
        "CapBnd": wanted,
        "CapAmb": 0,
    }


def test_a_user_has_no_capabilities_but_ambient_ones(box: Box) -> None:
    def edit(made: Spec) -> None:
        made["process"]["user"]["x-knarr-name"] = "alice"
        one = ["CAP_NET_BIND_SERVICE"]
        made["process"]["capabilities"] |= {"inheritable": one, "ambient": one}

    text = box.sh("cat /proc/self/status", edit=edit)
    found = masks(text)
    assert found["CapEff"] == found["CapAmb"] == 1 << 10
    assert "Uid:\t1000\t1000\t1000\t1000\n" in text
    assert sorted(text.split("Groups:")[1].splitlines()[0].split()) == ["1000", "50"]


def test_a_capability_that_nobody_knows_is_a_warning(box: Box) -> None:
    def edit(made: Spec) -> None:
        names = [*made["process"]["capabilities"]["bounding"], "CAP_FLY"]
        made["process"]["capabilities"] |= {"bounding": names, "permitted": names}

    one = box.start("sleep", "100", edit=edit)
    assert one.warnings == ["process.capabilities: 'CAP_FLY' is not known and left out"]
    one.kill()
    assert box.start("true").warnings == []


def test_no_capabilities_at_all(box: Box) -> None:
    def edit(made: Spec) -> None:
        made["process"]["capabilities"] = {}

    assert set(masks(box.sh("cat /proc/self/status", edit=edit)).values()) == {0}


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(box: Box, value: bool) -> None:
    out = box.sh(
        "grep NoNewPrivs /proc/self/status",
        edit=lambda s: s["process"].update(noNewPrivileges=value),
    )
    assert out.split()[1] == str(int(value))


def test_only_the_standard_descriptors_are_open(box: Box) -> None:
    # The third one is the directory that ls reads.
    assert box.sh("exec ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_signals_are_neither_ignored_nor_blocked(box: Box) -> None:
    done = box.run("grep", "^Sig", "/proc/self/status")
    out = dict(line.split(":\t") for line in done.text.splitlines())
    assert int(out["SigIgn"], 16) == 0
    assert int(out["SigBlk"], 16) == 0


def test_its_home_and_environment_are_only_what_was_given(box: Box) -> None:
    done = box.run("env", edit=lambda s: s["process"]["env"].append("A=b=c"))
    assert sorted(done.text.splitlines()) == ["A=b=c", "HOME=/root", "PATH=/bin"]


def test_a_score_that_cannot_be_set_is_named(box: Box) -> None:
    with pytest.raises(LaunchFailed) as caught:
        box.run("true", edit=lambda made: made["process"].update(oomScoreAdj=1001))
    assert caught.value.message == "oom_score_adj 1001: Invalid argument"


def test_umask_rlimits_and_oom_score(box: Box) -> None:
    def edit(made: Spec) -> None:
        made["process"]["user"]["umask"] = 0o077
        made["process"]["oomScoreAdj"] = 500
        made["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]

    script = "umask; cat /proc/self/oom_score_adj; ulimit -n; ulimit -Hn"
    assert box.sh(script, edit=edit).split() == ["0077", "500", "100", "200"]
