"""What is taken from ps's output."""

from __future__ import annotations

import pytest

from knarr import errors
from knarr.engine.top import check, chosen

TABLE = """UID   PID  PPID CMD
root    1     0 /sbin/init
root   20     1 sh -c echo  a   b
nobody 21    20 sleep 5
"""


def test_rows_by_pid_and_the_last_column_whole() -> None:
    titles, rows = chosen(TABLE, {20, 21})
    assert titles == ["UID", "PID", "PPID", "CMD"]
    assert rows == [["root", "20", "1", "sh -c echo  a   b"], ["nobody", "21", "20", "sleep 5"]]


def test_threads_follow_their_process() -> None:
    table = "PID LWP CMD\n1 - init\n- 1 -\n20 - sh\n- 20 -\n- 22 -\n21 - x\n- 21 -\n"
    assert [row[1] for row in chosen(table, {20}).processes] == ["-", "20", "22"]


def test_without_pids_nothing_can_be_chosen() -> None:
    for output in ("CMD\nsh\n", ""):
        with pytest.raises(errors.InvalidArgument, match="Couldn't find PID field in ps output"):
            chosen(output, {1})


@pytest.mark.parametrize("words", [["-o", "ppid=PID"], ["-o", "pid,ppid=PID"], ["-oppid=PIDS"]])
def test_no_other_column_may_be_called_so(words: list[str]) -> None:
    with pytest.raises(errors.InvalidArgument, match="is not allowed"):
        check(words)


@pytest.mark.parametrize("words", [["-o", "pid=PID,cmd"], ["-ef"], ["aux"], ["-o", "comm=NAME"]])
def test_usual_options(words: list[str]) -> None:
    check(words)
