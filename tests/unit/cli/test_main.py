"""argv to exit code: help, usage errors, what an error becomes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from knarr import __version__, errors
from knarr.cli import exitcodes, main, verbs
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args, UsageError


def outcome(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main._run(list(argv), caller=None)  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    return code, out, err


def test_no_words_is_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = outcome(capsys)
    assert (code, err) == (0, "")
    assert "Usage:  knarr [OPTIONS] COMMAND" in out
    assert "  run         Create and run a new container from an image" in out
    assert outcome(capsys, "--help") == outcome(capsys, "help") == (code, out, err)


@pytest.mark.parametrize(
    "argv", [("run", "--help"), ("run", "-it", "--help"), ("container", "run", "--help")]
)
def test_help_of_a_verb(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    code, out, _ = outcome(capsys, *argv)
    assert code == 0
    assert out.startswith("Usage:  knarr run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n")
    assert "  -h, --hostname string" in out
    assert "Example:" not in out


def test_a_group_of_verbs_says_whose_help_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("image", "nope"), ("image",)):
        _, _, err = outcome(capsys, *words)
        assert "\n\nUsage:  knarr image COMMAND\n\nRun 'knarr image --help' for more" in err
    assert "\n\nRun 'knarr --help' for more" in outcome(capsys, "xyzzies")[2]


def test_long_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = outcome(capsys, "help", "ps")
    assert code == 0
    assert "Example: -aq" in out
    assert "Default: false" in out
    assert "Default: -1" not in out  # said in brackets
    assert "Examples:\n  List the containers that run:\n      knarr ps\n" in out
    assert outcome(capsys, "help", "image", "prune")[1].startswith("Usage:  knarr image prune")


@pytest.mark.parametrize(
    ("argv", "code", "first_line"),
    [
        (("xyzzies",), 1, "knarr: unknown command: knarr xyzzies"),
        (("xyzzy",), 1, "knarr: unknown command: knarr xyzzy"),
        (("../run",), 1, "knarr: unknown command: knarr ../run"),
        (("image_prune",), 1, "knarr: unknown command: knarr image_prune"),
        (("container",), 1, "knarr: 'knarr container' requires a command"),
        (("image", "xy"), 1, "knarr: unknown command: knarr image xy"),
        (("-H", "x", "ps"), 125, ("-H: knarr has no daemon to connect to; --root and --run-root "
         "choose an engine's files")),
        (("run",), 1, "knarr: 'knarr run' requires at least 1 argument"),
        (("exec", "x"), 1, "knarr: 'knarr exec' requires at least 2 arguments"),
        (("ps", "x"), 1, "knarr: 'knarr ps' accepts no arguments"),
        (("load", "x.tar"), 1,
         "knarr: 'knarr load' accepts no arguments: name a file with -i x.tar"),
        (("images", "a", "b"), 1, "knarr: 'knarr images' requires at most 1 argument"),
        (("logs",), 1, "knarr: 'knarr logs' requires 1 argument"),
        (("cp", "a"), 1, "knarr: 'knarr cp' requires 2 arguments"),
        (("run", "--foo"), 125, "unknown flag: --foo"),
        (("create", "-d", "x"), 125, "-d: create never starts a container; use 'knarr start'"),
    ],
)  # fmt: skip
def test_usage_errors(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], code: int, first_line: str
) -> None:
    got, out, err = outcome(capsys, *argv)
    assert (got, out) == (code, "")
    lines = err.splitlines()
    assert lines[0] == first_line
    assert lines[1] == ""
    assert lines[-1].endswith("--help' for more information")


@pytest.mark.parametrize(
    ("argv", "first_line", "near"),
    [
        (("vresion",), "knarr: unknown command: knarr vresion", "knarr version"),
        (("conatiner", "ls"), "knarr: unknown command: knarr conatiner", "knarr container"),
        (("container", "strat"), "knarr: unknown command: knarr container strat",
         "knarr container start"),
        (("run", "--naem", "x", "busybox"), "unknown flag: --naem", "--name"),
    ],
)  # fmt: skip
def test_what_is_near_stands_below_dockers_words(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], first_line: str, near: str
) -> None:
    _, out, err = outcome(capsys, *argv)
    assert out == ""
    assert err.splitlines()[:3] == [first_line, f"Did you mean '{near}'?", ""]


@pytest.mark.parametrize("argv", [("image", "--help"), ("image", "-h"), ("help", "image")])
def test_help_of_a_group(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    code, out, err = outcome(capsys, *argv)
    assert (code, err) == (0, "")
    assert out.startswith("Usage:  knarr image COMMAND\n\nManage images\n\nCommands:\n")
    assert "  prune     Remove unused images\n" in out


def run_command(error: BaseException, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_context: Context, _args: Args) -> int:
        raise error

    command = Command(name, "", ("",), fail)
    monkeypatch.setattr(verbs, "find", lambda _words: (command, []))


@pytest.mark.parametrize(
    ("error", "verb", "code", "text"),
    [
        (errors.NotFound("No such image: x"), "run", 125, "knarr: No such image: x\n"),
        (errors.NotFound("No such container: x"), "rm", 1, "Error: No such container: x\n"),
        (errors.CommandNotFound("x"), "run", 127, "knarr: x\n"),
        (errors.CommandNotFound("x"), "exec", 127, "Error: x\n"),
        (errors.NotExecutable("x"), "start", 126, "Error: x\n"),
        (OSError(28, "No space left on device", "/x"), "load", 1,
         "Error: [Errno 28] No space left on device: '/x'\n"),
        (RuntimeError("two\nlines"), "run", 125,
         "knarr: unexpected RuntimeError: two lines (KNARR_DEBUG=1 shows where)\n"),
    ],
)  # fmt: skip
def test_errors_become_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    verb: str,
    code: int,
    text: str,
) -> None:
    monkeypatch.delenv("KNARR_DEBUG", raising=False)
    run_command(error, verb, monkeypatch)
    assert outcome(capsys, verb) == (code, "", text)


def test_debug_adds_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_command(RuntimeError("x"), "ps", monkeypatch)
    assert "Traceback" in outcome(capsys, "--debug", "ps")[2]
    monkeypatch.setenv("KNARR_DEBUG", "1")
    assert "Traceback" in outcome(capsys, "ps")[2]


def test_settings_that_are_no_numbers_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNARR_LAUNCHER_IDLE", "soon")
    code, _, err = outcome(capsys, "version")
    assert code == 1
    assert "KNARR_ settings: KNARR_LAUNCHER_IDLE: 'soon' is not a number" in err


def test_all_spellings_lead_to_a_module() -> None:
    for group, members in verbs.GROUPS.items():
        for word, module in members.items():
            command, rest = verbs.find([group, word, "x"])
            assert command is verbs.load(module)
            assert rest == ["x"]
    for name in verbs.names():
        for spelling in verbs.load(name).spellings:
            assert verbs.find(spelling.split())[0] is verbs.load(name)


def test_a_verb_that_comes_later_is_not_there_now() -> None:
    assert not set(verbs.LATER) & {*verbs.names(), *verbs.GROUPS}


def test_exit_codes() -> None:
    assert exitcodes.for_error(exitcodes.CommandError("x"), "run") == 1
    assert exitcodes.for_signal(15) == 143
    assert UsageError("x").exit_code == 125


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "knarr", "version", "--format", "{{.Client.Version}}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{__version__}\n", "")
