"""The parser of flags: Docker's spellings and Docker's messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.cli import flags
from knarr.cli.flags import Flag, HelpAsked, Table, UsageError

TABLE = Table(
    (
        Flag("interactive", flags.SWITCH, "", short="i"),
        Flag("tty", flags.SWITCH, "", short="t"),
        Flag("sig-proxy", flags.SWITCH, "", default=True),
        Flag("env", flags.ENVIRONMENT, "", short="e"),
        Flag("name", flags.TEXT, ""),
        Flag("memory", flags.BYTES, "", short="m"),
        Flag("pull", flags.TEXT, "", default="missing"),
        Flag("timeout", flags.NUMBER, "", short="T", aliases=("time",)),
    ),
    missing={"publish": "ports are not available yet", "p": "ports are not available yet"},
)


def test_all_spellings_of_one_flag() -> None:
    for argv in (
        ["-e", "A=b"],
        ["-eA=b"],
        ["-e=A=b"],
        ["--env", "A=b"],
        ["--env=A=b"],
        ["-ite", "A=b"],
        ["-iteA=b"],
    ):
        assert TABLE.parse(argv).many("env") == ("A=b",), argv


def test_switches() -> None:
    args = TABLE.parse(["-it", "--sig-proxy=false"])
    assert args.on("interactive")
    assert args.on("tty")
    assert not args.on("sig-proxy")
    assert not TABLE.parse(["-t=false"]).on("tty")
    assert TABLE.parse(["-i"]).on("sig-proxy")


def test_a_switch_takes_no_following_word() -> None:
    args = TABLE.parse(["--tty", "false"])
    assert args.on("tty")
    assert args.rest == ["false"]


def test_flags_stop_at_the_first_argument_where_a_command_follows() -> None:
    args = TABLE.parse(["-i", "image", "-t", "--name", "x"], interspersed=False)
    assert args.rest == ["image", "-t", "--name", "x"]
    assert not args.on("tty")


def test_flags_may_follow_arguments_elsewhere() -> None:
    args = TABLE.parse(["a", "-t", "b", "--", "-i"])
    assert args.rest == ["a", "b", "-i"]
    assert args.on("tty")
    assert not args.on("interactive")


def test_a_dash_alone_is_an_argument() -> None:
    assert TABLE.parse(["-", "x"]).rest == ["-", "x"]


def test_repeated_flags_collect_and_single_ones_keep_the_last() -> None:
    args = TABLE.parse(["-e", "A=1", "-e", "B=2", "--name", "x", "--name", "y"])
    assert args.many("env") == ("A=1", "B=2")
    assert args.text("name") == "y"


def test_defaults_and_what_was_given() -> None:
    args = TABLE.parse(["-m", "1k"])
    assert args.text("pull") == "missing"
    assert args.number("memory") == 1024
    assert args.number("timeout") is None
    assert args.given == {"memory"}


def test_an_alias_sets_the_flag() -> None:
    assert TABLE.parse(["--time", "3"]).number("timeout") == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--nmae", "x"], "unknown flag: --nmae"),
        (["-z"], "unknown shorthand flag: 'z' in -z"),
        (["-iz"], "unknown shorthand flag: 'z' in -iz"),
        (["--name"], "flag needs an argument: --name"),
        (["-ie"], "flag needs an argument: 'e' in -ie"),
        (["-m", "abc"], 'invalid argument "abc" for "-m, --memory" flag: invalid size: \'abc\''),
        (["--tty=maybe"],
         "invalid argument \"maybe\" for \"-t, --tty\" flag: 'maybe' is neither true nor false"),
        (["-e", "=x"],
         'invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x'),
        (["-p", "80:80"], "-p: ports are not available yet"),
        (["--publish=80"], "--publish: ports are not available yet"),
    ],
)  # fmt: skip
def test_messages(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TABLE.parse(argv)
    assert str(caught.value) == message
    assert caught.value.exit_code == 125


def test_help_is_asked_for_only_where_a_flag_may_stand() -> None:
    for argv in (["--help"], ["-h"], ["-th"], ["x", "--help"]):
        with pytest.raises(HelpAsked):
            TABLE.parse(argv)
    assert TABLE.parse(["--name", "--help"]).text("name") == "--help"
    assert TABLE.parse(["x", "--help"], interspersed=False).rest == ["x", "--help"]
    assert TABLE.parse(["--", "--help"]).rest == ["--help"]


@given(st.lists(st.text(max_size=8), max_size=8))
def test_any_words_parse_or_are_refused(argv: list[str]) -> None:
    try:
        args = TABLE.parse(argv)
    except (UsageError, HelpAsked):
        return
    assert len(args.rest) <= len(argv)


def test_nearest_finds_only_what_is_near() -> None:
    assert flags.nearest("vresion", ["version", "run"]) == "version"
    assert flags.nearest("ruN", ["version", "run"]) == "run"
    assert flags.nearest("xyzzy", ["version", "run"]) == ""
