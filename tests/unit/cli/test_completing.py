"""Completion without containers: verbs, flags, values, files; and that no flag was forgotten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from knarr.cli import candidates, completing, verbs
from knarr.cli.caller import Caller
from knarr.cli.context import Context
from knarr.cli.flags import UsageError
from knarr.config import Settings

# Flags whose values nobody can guess: texts, numbers, names that are to be new.
FREE = frozenset(
    """
    add-host alias annotation arch author aux-address blkio-weight build-arg cgroup-parent change
    cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems
    detach-keys device-cgroup-rule dns dns-option dns-search domainname egress-allow entrypoint env
    expose gateway gc-every grace group-add gw-priority health-cmd health-interval health-retries
    health-start-interval health-start-period health-timeout hostname immutable-tag include
    interval ip ip-range ip6 keep-last keep-tag label last limit link-local-ip listen mac-address
    max-connections memory memory-reservation memory-swap memory-swappiness message mirror
    mutable-tag name network-alias network-rate-in network-rate-out oom-score-adj os os-features
    os-version password pids-limit proxy proxy-keep quota shm-size since snapshot stop-timeout
    subnet sysctl tag tail timeout tmpfs token-realm until unused-for user username variant
    webhook workdir
    """.split()  # noqa: SIM905 - a list of fifty words
)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A context of an engine with nothing in it."""
    settings = Settings(data_root=str(tmp_path / "none"), run_root=str(tmp_path / "run"))
    return Context(settings, Caller())


def values(context: Context, *words: str) -> list[str]:
    return [each.value for each in completing.complete(context, list(words))]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("versi", ["version"]),
        ("sta", ["start", "stats"]),
        ("cont", ["container"]),
        ("container cl", ["clone"]),
        ("image pr", ["prune"]),
        ("--ro", ["--root"]),
        ("--run-root /x vers", ["version"]),
        ("-D vers", ["version"]),
        ("run --read", ["--read-only"]),
        ("run --rm --cap-add NET_A", ["NET_ADMIN"]),
        ("run --cap-add=NET_A", ["--cap-add=NET_ADMIN"]),
        ("run -it --network ", ["bridge", "host", "none", "container:"]),
        ("run --pull=n", ["--pull=never"]),
        ("run --restart on", ["on-failure", "on-failure:"]),
        ("run --ulimit nof", ["nofile="]),
        ("run --log-opt max-s", ["max-size="]),
        ("run --mount ty", ["type="]),
        ("run --mount type=bind,re", ["type=bind,readonly"]),
        ("run --mount type=t", ["type=tmpfs"]),
        (
            "run --mount bind-propagation=rs",
            ["bind-propagation=rshared", "bind-propagation=rslave"],
        ),
        ("run --security-opt seccomp=un", ["seccomp=unconfined"]),
        ("kill -s US", []),
        ("kill -s SIGUS", ["SIGUSR1", "SIGUSR2"]),
        ("kill -sSIGUS", []),
        ("ps -f stat", ["status="]),
        ("ps --filter status=pa", ["status=paused"]),
        ("ps --filter=status=pa", ["--filter=status=paused"]),
        ("images -f dangling=", ["dangling=false", "dangling=true"]),
        ("system prune --filter la", ["label=", "label!="]),
        ("save --format o", ["oci", "oci-dir"]),
        ("ps --format ", ["json", "table"]),
        ("info -f ", ["json"]),
        ("inspect --type i", ["image"]),
        ("bootstrap busy", ["busybox:glibc", "busybox:latest", "busybox:stable"]),
        ("completion ", ["bash", "fish", "zsh"]),
        ("help vers", ["version"]),
        ("help system d", ["df"]),
        ("exec -u", ["-u"]),
        ("exec web sh --", []),
        ("run busybox --r", []),
        ("ps -- -", []),
        ("logs web we", []),
        ("nothing x", None),
        ("container nothing x", None),
    ],
)
def test_what_could_stand_there(context: Context, line: str, found: list[str] | None) -> None:
    if found is None:
        with pytest.raises(UsageError, match="unknown command"):
            values(context, *line.split(" "))
    else:
        assert values(context, *line.split(" ")) == found


def test_a_dash_offers_letters_and_names(context: Context) -> None:
    found = values(context, "ps", "-")
    assert {"-a", "--all", "-n", "--no-trunc", "--help"} <= set(found)
    assert all(each.startswith("--") for each in values(context, "ps", "--"))
    for verb in verbs.names():
        flags = {f"--{flag.name}" for flag in verbs.load(verb).flags}
        assert set(values(context, verb, "--")) == {*flags, "--help"}


def test_files(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a folder").mkdir()
    for name in ("an.env", ".hidden", "a folder/in.env"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    assert values(context, "run", "--env-file", "a") == ["a folder/", "an.env"]
    assert values(context, "run", "--env-file", "a\\ folder/") == ["a folder/in.env"]
    assert values(context, "run", "--env-file", "'a fol") == ["a folder/"]
    assert values(context, "load", "-i", ".") == [".hidden"]
    assert values(context, "run", "-v", f"{tmp_path}/an") == [f"{tmp_path}/an.env"]
    assert values(context, "run", "-v", f"{tmp_path}:/") == []
    assert values(context, "import", "an") == ["an.env"]
    assert values(context, "cp", "an") == ["an.env"]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert values(context, "load", "-i", "~/an") == ["~/an.env"]
    assert "/dev/null" in values(context, "run", "--device", "/dev/nu")


def test_names_that_are_no_words(
    context: Context, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (b"fine", b"two\nlines", b"a\ttab", b"\x1b[2Jcursor", b"\xff"):
        (Path(os.fsdecode(bytes(tmp_path) + b"/" + name))).write_text("")
    completing.run(context, completing.COMMAND.parse(["--", "load", "-i", f"{tmp_path}/"]))
    assert capfd.readouterr().out == f"{tmp_path}/fine\n"


def test_asking_makes_nothing(context: Context) -> None:
    for words in (
        ["exec", ""],
        ["rmi", ""],
        ["inspect", ""],
        ["cp", "web:"],
        ["--root", "/x/", ""],
    ):
        values(context, *words)
    assert not os.path.exists(context.settings.data_root)
    assert not os.path.exists(context.settings.run_root)


def test_where_a_port_is_published(context: Context) -> None:
    assert values(context, "run", "-p", "127") == ["127.0.0.1:"]


def test_no_flag_was_forgotten() -> None:
    known = {"filter", "format", "mount", *candidates.VALUES}
    assert not known & FREE
    for module in verbs.modules():
        for flag in verbs.load(module).flags:
            if not flag.kind.switch:
                assert flag.name in known | FREE, f"{module}: --{flag.name}"


def test_every_argument_is_thought_of(context: Context) -> None:
    for module in verbs.modules():
        command = verbs.load(module)
        for number in range(command.arguments[0]):
            assert completing._place(command, number), f"{module}: {number}"
    place = completing._place(verbs.load("cp"), 0)
    assert "CONTAINER:SRC_PATH" in place
    assert completing._place(verbs.load("images"), 1) == ""
    assert values(context, "exec", "web", "") == []


def test_what_goes_wrong_is_silent(context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    command, rest = verbs.find(["__complete", "--", "nothing", "x"])
    assert command.run(context, command.parse(rest)) == 0
    assert capsys.readouterr() == ("", "")
    assert "__complete" not in verbs.names()
