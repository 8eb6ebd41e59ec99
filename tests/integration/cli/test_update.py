"""update on the command line."""

from __future__ import annotations

from tests.support.installations import Installation


def test_update(box: Installation) -> None:
    for name in ("one", "two"):
        assert box.run("create", "--name", name, "busybox", "sleep", "600")[0] == 0
    assert box.run("start", "one")[0] == 0
    assert box.run("update", "--cpus", "0.5", "-m", "64m", "one", "two") == (0, b"one\ntwo\n", b"")
    shown = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}"
    for name in ("one", "two"):
        assert box.run("inspect", "-f", shown, name)[1] == b"500000000 67108864 no\n"
    assert box.run("container", "update", "--restart", "on-failure:3", "two")[0] == 0
    assert box.run("inspect", "-f", shown, "two")[1] == b"500000000 67108864 on-failure\n"


def test_refusals(box: Installation) -> None:
    identity = box.run("create", "--name", "one", "--cpus", "1", "busybox")[1].decode().strip()
    for words, text in (
        ((), "you must provide one or more flags when using this command"),
        (("--restart", "sometimes"), ("invalid restart policy: unknown policy 'sometimes'; use one "
         "of 'no', 'always', 'on-failure', or 'unless-stopped'")),
        (("--cpu-quota", "5000"), (f"Cannot update container {identity}: Conflicting options: CPU "
         "Quota cannot be updated as NanoCPUs has already been set")),
        (("-m", "1m"), "Minimum memory limit allowed is 6MB"),
    ):  # fmt: skip
        assert box.run("update", *words, "one") == (1, b"", f"Error: {text}\n".encode())
    code, _, err = box.run("update", "--kernel-memory", "1m", "one")
    assert code == 125
    assert b"--kernel-memory: gone from Linux; use --memory" in err
