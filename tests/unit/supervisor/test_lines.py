"""Output as lines for log drivers, and as entries of Docker's JSON file."""

from __future__ import annotations

import json
import resource
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from knarr.supervisor.jsonfile import JsonFile, rfc3339
from knarr.supervisor.lines import LIMIT, Lines

if TYPE_CHECKING:
    from knarr.supervisor.lines import Line


def _joined(lines: list[Line], stream: int) -> bytes:
    return b"".join(
        data + (b"\n" if whole else b"") for of, _, data, _, whole, _ in lines if of == stream
    )


@given(st.lists(st.tuples(st.sampled_from((1, 2)), st.sampled_from(
    (b"a", b"\n", b"bc\nd", b"\n\n", b"x" * LIMIT, b"y" * (LIMIT + 1), b"z" * 40000 + b"\n"),
))))  # fmt: skip
def test_nothing_is_lost_between_the_lines(blocks: list[tuple[int, bytes]]) -> None:
    cutter = Lines()
    found: list[Line] = []
    for stream, data in blocks:
        found += cutter.cut(stream, data)
    found += cutter.rest()
    for stream in (1, 2):
        assert _joined(found, stream) == b"".join(data for of, data in blocks if of == stream)
    assert all(len(line[2]) <= LIMIT and b"\n" not in line[2] for line in found)


def test_a_long_line_has_numbered_parts() -> None:
    cutter = Lines()
    found = cutter.cut(1, b"x" * (2 * LIMIT + 5) + b"\nshort\n")
    assert [(part, whole) for _, _, _, part, whole, _ in found] == [
        (1, False), (2, False), (3, True), (0, True),
    ]  # fmt: skip
    assert len({line[5] for line in found[:3]}) == 1


def test_only_a_long_line_is_cut_by_itself() -> None:
    cutter = Lines()
    long = b"x" * (LIMIT + 1) + b"\n"
    pieces = cutter.pieces(1, b"a\nb\n" + long + b"c\n" + b"y" * LIMIT + b"\nd\ne")
    found = [piece if isinstance(piece, bytes) else len(piece) for piece in pieces]
    assert found == [b"a\nb\n", 2, b"c\n" + b"y" * LIMIT + b"\nd\n"]
    assert cutter.pieces(2, b"f\n") == [b"f\n"]
    assert cutter.pieces(1, b"g\nh\n") == [b"eg\nh\n"]


@given(st.data())
def test_a_block_may_end_anywhere(draw: st.DataObject) -> None:
    """Lines that are just long enough or just too long, wherever blocks divide them."""
    lengths = st.sampled_from((0, 1, LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT, 2 * LIMIT + 1))
    text = b"".join(b"x" * length + b"\n" for length in draw.draw(st.lists(lengths, max_size=6)))
    places = draw.draw(st.lists(st.integers(0, len(text)), max_size=4))
    begins = [0, *sorted(places)]
    cutter, found = Lines(), []
    for begin, end in zip(begins, [*begins[1:], len(text)], strict=True):
        for piece in cutter.pieces(1, text[begin:end]):
            if isinstance(piece, bytes):
                assert piece.endswith(b"\n")
                found += [(line, True) for line in piece[:-1].split(b"\n")]
            else:
                found += [(line, whole) for _, _, line, _, whole, _ in piece]
    assert all(len(line) <= LIMIT for line, _ in found)
    assert b"".join(line + (b"\n" if whole else b"") for line, whole in found) == text
    assert not cutter.rest()
    # A line is divided only where it is full.
    assert all(whole or len(line) == LIMIT for line, whole in found)


def _config(path: Path, **more: Any) -> dict[str, Any]:
    return {"path": str(path), "limit": 0, "keep": 1, "attrs": "", **more}


def test_entries_are_dockers(tmp_path: Path) -> None:
    target = tmp_path / "x-json.log"
    file = JsonFile(_config(target, attrs='{"tag":"web"}'))
    cutter = Lines()
    file.send(cutter.cut(1, 'a <b> & "ü"\n'.encode()))
    file.send(cutter.cut(2, b"\xff\x01half"))
    file.send(cutter.rest())
    file.close()
    first, second = target.read_text().splitlines()
    start = (
        r'{"log":"a \u003cb\u003e \u0026 \"ü\"\n","stream":"stdout","attrs":{"tag":"web"},"time":"'
    )
    assert first.startswith(start)
    assert json.loads(second)["log"] == "\ufffd\x01half"
    assert json.loads(second)["stream"] == "stderr"
    assert list(json.loads(second)) == ["log", "stream", "attrs", "time"]


_ODD = (
    b"plain\n", b"\n", b'a "quote" \\ \\n <b> & \t\r\x08\x0c\x1b[1m\x7f\x00\n',
    "ü\u2028\u2029€\n".encode(), b"\xe2\x80\xff \xc3", b"(\n", b"half",
    b"z" * LIMIT + b"\n", b"z" * (LIMIT + 1) + b"\n",
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from((1, 2)), st.lists(st.sampled_from(_ODD), max_size=4))))
def test_lines_in_one_piece_are_as_lines_one_by_one(blocks: list[tuple[int, list[bytes]]]) -> None:
    files = []
    for by_runs in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x-json.log"
            file, cutter = JsonFile(_config(path, attrs='{"tag":"web"}')), Lines()
            for stream, parts in blocks:
                data = b"".join(parts)
                if by_runs:
                    file.take(stream, cutter.pieces(stream, data))
                else:
                    file.send(cutter.cut(stream, data))
            file.send(cutter.rest())
            file.close()
            # Lines end at newlines only, whatever else Unicode takes for one.
            texts = path.read_text().split("\n")[:-1]
            files.append([text.rpartition(',"time":')[0] for text in texts])
            assert all(json.loads(text)["time"] for text in texts)
    assert files[0] == files[1]


def _dockers(data: bytes) -> str:
    """Return what Docker's encoder makes of text, written one character after the other."""
    short = {"\n": "\\n", "\r": "\\r", "\\": "\\\\", '"': '\\"'}
    found = ""
    for letter in data.decode("utf-8", "surrogateescape"):
        if letter in short:
            found += short[letter]
        elif letter < " " or letter in "<>&\u2028\u2029":
            found += f"\\u{ord(letter):04x}"
        else:
            found += "\\ufffd" if "\udc80" <= letter <= "\udcff" else letter
    return found


_TEXTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(str.encode),
    st.lists(st.sampled_from((
        b"?", b"\x01", b"\xe2\x80", b"\xa8", b"\xed\xb2\x80", b"\\", b"\\ufffd", b'"', b"\t",
        b"\x00", "\u2029".encode(), "\U0001f600".encode(), b"\xf0\x9f\x98", b"\xff",
    ))).map(b"".join),
)  # fmt: skip


@given(_TEXTS)
def test_every_byte_is_written_as_docker_writes_it(text: bytes) -> None:
    line = text.replace(b"\n", b"") + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x-json.log"
        file = JsonFile(_config(path))
        file.take(1, [line])
        file.send([(1, 0, line[:-1], 1, False, 0)])
        file.close()
        whole, part = path.read_text().split("\n")[:-1]
    assert whole.startswith(f'{{"log":"{_dockers(line)}","stream":"stdout","time":"')
    assert part.startswith(f'{{"log":"{_dockers(line[:-1])}","stream":"stdout","time":"')
    json.loads(whole), json.loads(part)


def test_a_full_disk_costs_whole_lines_only(tmp_path: Path) -> None:
    target = tmp_path / "x-json.log"
    file = JsonFile(_config(target))
    file.send_run(1, b"one\ntwo\n")
    kept = target.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 10, before[1]))
    try:
        file.send_run(1, b"three\nfour\nfive\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (target.read_bytes(), file.dropped) == (kept, 3)
    file.close()


def test_files_move_on_as_dockers_do(tmp_path: Path) -> None:
    target = tmp_path / "x-json.log"
    file = JsonFile(_config(target, limit=100, keep=3))
    for number in range(6):
        file.send([(1, 0, b"%d" % number, 0, True, 0)])
        before = file.due
        assert not before
        file.send([(1, 0, b"more", 0, True, 0)])
        assert file.due
        assert file.rotate() == f"{target}.1"
    file.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "x-json.log", "x-json.log.1", "x-json.log.2",
    ]  # fmt: skip
    assert '"5\\n"' in (tmp_path / "x-json.log.1").read_text()
    assert '"4\\n"' in (tmp_path / "x-json.log.2").read_text()


def test_times_are_as_go_writes_them() -> None:
    assert rfc3339(1_700_000_000_120_000_000) == "2023-11-14T22:13:20.12Z"
    assert rfc3339(1_700_000_000_000_000_000) == "2023-11-14T22:13:20Z"
