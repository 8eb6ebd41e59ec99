"""A filter that asks an agent: the agent gets the descriptor, and decides about system calls."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci

# seccomp_unotify(2): struct seccomp_notif and seccomp_notif_resp
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_REQUEST = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_CONTINUE = 1
_EPERM = 1
_MKDIR = {"x86_64": 83, "aarch64": 34}[os.uname().machine]


class Agent:
    """One that answers every ``mkdir`` with an error, and lets all else go on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[dict[str, Any]] = []
        self.asked: list[int] = []
        self.closed: list[bool] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            rights = array.array("i")
            data, ancillary, _, _ = connection.recvmsg(1 << 16, socket.CMSG_SPACE(64))
            for _level, _kind, content in ancillary:
                rights.frombytes(content[: len(content) // 4 * 4])
            while piece := connection.recv(1 << 16):
                data += piece
            self.closed.append(True)
            connection.close()
            if not data:
                continue
            self.told.append(json.loads(data) | {"rights": len(rights)})
            thread = threading.Thread(target=self._answer, args=(rights[0],), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _answer(self, fd: int) -> None:
        while True:
            request = bytearray(_REQUEST.size)
            try:
                fcntl.ioctl(fd, _RECEIVE, request)
                number = _REQUEST.unpack(request)[3]
                self.asked.append(number)
                identity = _REQUEST.unpack(request)[0]
                denied = number == _MKDIR
                answer = _ANSWER.pack(identity, 0, -_EPERM if denied else 0,
                                      0 if denied else _CONTINUE)  # fmt: skip
                fcntl.ioctl(fd, _SEND, bytearray(answer))
            except OSError:
                break  # nobody has the filter any more
        os.close(fd)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent")
    yield made
    made.close()


def profile(path: Path | str, *names: str, **changes: Any) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(path),
        "listenerMetadata": "about it",
        "syscalls": [{"names": list(names or ("mkdir", "mkdirat")), "action": "SCMP_ACT_NOTIFY"}],
        **changes,
    }


@pytest.mark.parametrize("privileges", [True, False])
def test_an_agent_is_told_and_decides(oci: Oci, agent: Agent, privileges: bool) -> None:
    name = oci.name("asks")
    look = "ls -l /proc/self/fd 2>/dev/null | grep -c 'seccomp|socket'; mkdir /tmp/new"
    path = oci.bundle("sh", "-c", look, linux={"seccomp": profile(agent.path)},
                      process={"noNewPrivileges": privileges},
                      annotations={"org.example": "x"})  # fmt: skip
    said = oci("run", "-b", str(path), name, check=False)
    assert "Operation not permitted" in said
    assert said.startswith("0\n")
    (told,) = agent.told
    assert told["ociVersion"]
    assert (told["fds"], told["rights"], told["metadata"]) == (["seccompFd"], 1, "about it")
    assert told["pid"] == told["state"]["pid"] > 1
    assert told["state"]["id"] == name
    assert told["state"]["bundle"] == str(path)
    assert told["state"]["annotations"] == {"org.example": "x"}
    assert _MKDIR in agent.asked


def test_calls_of_the_runtime_itself_are_asked_about(oci: Oci, agent: Agent) -> None:
    """The descriptor is with the agent before the next call that the filter stops."""
    seccomp = profile(agent.path, "execve", "capset", "prctl", "read")
    path = oci.bundle("echo", "ran", linux={"seccomp": seccomp},
                      process={"noNewPrivileges": False})  # fmt: skip
    assert oci("run", "-b", str(path), oci.name("own")) == "ran\n"
    assert len(agent.asked) > 2


def test_create_and_start_by_themselves_and_a_command(oci: Oci, agent: Agent) -> None:
    name = oci.name("apart")
    linux = {"seccomp": profile(agent.path)}
    oci("create", "-b", str(oci.bundle("sleep", "1000", linux=linux)), name)
    pid = oci.state(name)["pid"]
    oci("start", name)
    assert "not permitted" in oci("exec", name, "mkdir", "/tmp/other", check=False)
    first, second = agent.told
    assert first["pid"] == first["state"]["pid"] == pid
    assert second["state"]["pid"] == pid
    assert second["state"]["status"] == "running"
    assert second["pid"] not in (0, pid)
    assert agent.closed == [True, True]
    oci("delete", "--force", name)


def test_an_agent_of_a_container_with_a_time_namespace(oci: Oci, agent: Agent) -> None:
    kinds = ("pid", "mount", "time", "uts")
    linux = {"seccomp": profile(agent.path), "namespaces": [{"type": kind} for kind in kinds]}
    path = oci.bundle("mkdir", "/tmp/x", linux=linux)
    assert "not permitted" in oci("run", "-b", str(path), oci.name("time"), check=False)
    assert agent.told[0]["pid"] == agent.told[0]["state"]["pid"] > 1


def test_flags_and_a_listener(oci: Oci, agent: Agent) -> None:
    flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
             "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]  # fmt: skip
    path = oci.bundle("mkdir", "/tmp/x", linux={"seccomp": profile(agent.path, flags=flags)})
    assert "not permitted" in oci("run", "-b", str(path), oci.name("flags"), check=False)


def test_a_path_that_is_not_needed_is_not_used(oci: Oci, tmp_path: Path) -> None:
    seccomp = profile(tmp_path / "none", syscalls=[])
    path = oci.bundle("echo", "ran", linux={"seccomp": seccomp})
    assert oci("run", "-b", str(path), oci.name("unused")) == "ran\n"


@pytest.mark.parametrize(("changes", "said"), [
    ({"listenerPath": "/no/such/socket"},
     "linux.seccomp.listenerPath: /no/such/socket: No such file"),
    ({"listenerPath": "/etc/passwd"},
     "linux.seccomp.listenerPath: /etc/passwd: Connection refused"),
    ({"listenerPath": "", "listenerMetadata": ""}, "linux.seccomp.listenerPath: is missing"),
    ({"listenerPath": ""}, "linux.seccomp.listenerMetadata: needs listenerPath"),
    ({"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]},
     "SCMP_ACT_NOTIFY cannot be used for the write system call"),
    ({"syscalls": [{"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY"}]},
     "SCMP_ACT_NOTIFY cannot be used for the sendmsg system call"),
    ({"defaultAction": "SCMP_ACT_NOTIFY"}, "cannot be the default action"),
    ({"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY", "errnoRet": 5}]},
     "errnoRet is not possible with SCMP_ACT_NOTIFY"),
    ({"defaultErrnoRet": 5}, "defaultErrnoRet is not possible with SCMP_ACT_ALLOW"),
    ({"flags": ["X"]}, "linux.seccomp.flags: 'X'"),
])  # fmt: skip
def test_profiles_that_are_none(oci: Oci, changes: dict[str, Any], said: str) -> None:
    path = oci.bundle("true", linux={"seccomp": profile("/no/such", **changes)})
    assert said in oci("create", "-b", str(path), oci.name("bad"), check=False)
    assert oci("list", "-q") == ""
    assert oci.groups() == []


def test_a_profile_that_forbids_the_hand_over(oci: Oci, agent: Agent) -> None:
    rules = [{"names": ["sendmsg"], "action": "SCMP_ACT_ERRNO"},
             {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]  # fmt: skip
    path = oci.bundle("true", linux={"seccomp": profile(agent.path, syscalls=rules)})
    said = oci("run", "-b", str(path), oci.name("mute"), check=False)
    assert "linux.seccomp.listenerPath: cannot send to the agent: Operation not permitted" in said
