"""Large blobs over several connections at once."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from knarr.errors import KnarrError
from knarr.registry.credentials import Credentials
from knarr.registry.hosts import Hosts
from knarr.registry.lanes import WideStream, Width
from knarr.registry.repository import Registry
from tests.support.fakeregistry import FakeRegistry, Request, digest_of, send
from tests.support.waiting import wait_until
from tests.unit.registry.conftest import QUICK

KIB = 1024
PIECE = 64 * KIB
DATA = random.Random(7).randbytes(3_000_001)
DIGEST = digest_of(DATA)
SMALL = Width(piece=PIECE, look=16 * KIB, least=4 * PIECE, fast=math.inf, nearby=True)

Open = Callable[[Width], Registry]


@pytest.fixture
def opened(fake: FakeRegistry, home: dict[str, str], tmp_path: Path) -> Iterator[Open]:
    """Return what opens the registry, which has one blob."""
    fake.add_blob(DATA)
    with contextlib.ExitStack() as stack:

        def open_it(width: Width) -> Registry:
            hosts = Hosts((str(tmp_path / "certs.d"),))
            made = Registry(fake.host, hosts, Credentials(home), environ=home, patience=QUICK,
                            width=width)  # fmt: skip
            return stack.enter_context(made)

        yield open_it
    wait_until(lambda: threads() == 0)


def threads() -> int:
    return sum(each.name.startswith("lane") for each in threading.enumerate())


def blob(registry: Registry, offset: int = 0) -> WideStream:
    return registry.repository("a/b").blob(DIGEST, offset=offset)


def whole(stream: WideStream, step: int = 50_000) -> bytes:
    with contextlib.closing(stream):
        found = b""
        while data := stream.read(step):
            found += data
        return found


def parts(fake: FakeRegistry) -> list[tuple[int, int]]:
    """Return the parts with an end that were asked for."""
    asked = [headers.get("Range", "") for headers in fake.asked("GET", "/blobs/")]
    words = [each.removeprefix("bytes=").split("-") for each in asked]
    return [(int(word[0]), int(word[1])) for word in words if len(word) == 2 and word[1]]


def is_part(request: Request) -> bool:
    return "/blobs/" in request.path and request.headers.get("Range", "-").rpartition("-")[2] != ""


@pytest.mark.parametrize("offset", [0, 1, 1_000_000, len(DATA) - 5 * PIECE, len(DATA) - 1])
@pytest.mark.parametrize("step", [1000, 50_000, 10_000_000])
def test_the_bytes_are_right_and_in_order(
    fake: FakeRegistry, opened: Open, offset: int, step: int
) -> None:
    stream = blob(opened(SMALL), offset)
    assert (stream.offset, stream.size) == (offset, len(DATA))
    assert whole(stream, step) == DATA[offset:]
    asked = sorted(parts(fake))
    # The look at the first connection is with what is read at once; then little may be left.
    assert bool(asked) is (len(DATA) - offset - max(step, 17_000) >= 4 * PIECE)
    # Each byte once, but for what came over the first connection.
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(asked))
    assert not asked or asked[-1][1] == len(DATA) - 1


def test_several_come_at_once(fake: FakeRegistry, opened: Open) -> None:
    together = threading.Barrier(3, timeout=20)
    first = threading.Event()

    def hold(request: Request) -> bool:
        if is_part(request) and not first.is_set():
            together.wait()  # no one of the first three is answered before all have come
            first.set()
        return False

    fake.hooks.append(hold)
    assert whole(blob(opened(SMALL))) == DATA
    assert first.is_set()


def test_they_do_not_run_away_from_the_reader(fake: FakeRegistry, opened: Open) -> None:
    stream = blob(opened(SMALL))
    stream.read(20 * KIB)
    wait_until(lambda: len(parts(fake)) >= 4)
    # Three lanes beside the first; five pieces fit, of which the first came over the connection.
    assert len(parts(fake)) == 4
    stream.read(5 * PIECE)
    wait_until(lambda: len(parts(fake)) >= 8)
    assert stream.read(len(DATA)) == DATA[20 * KIB + 5 * PIECE :]
    stream.close()


@pytest.mark.parametrize("upto", [PIECE // 2, PIECE + 100, 1_000_000])
def test_what_is_cut_off_goes_on(fake: FakeRegistry, opened: Open, upto: int) -> None:
    left = [3]

    def cut(request: Request) -> bool:
        if not is_part(request) or not left[0]:
            return False
        start = int(request.headers["Range"].removeprefix("bytes=").split("-")[0])
        if start >= upto:
            return False
        left[0] -= 1
        send(request, DATA, upto=start + 1000)
        return True

    fake.hooks.append(cut)
    assert whole(blob(opened(SMALL))) == DATA


def test_a_server_that_gives_no_parts_after_all(fake: FakeRegistry, opened: Open) -> None:
    def refuse(request: Request) -> bool:
        if request.headers.get("Range"):
            del request.headers["Range"]
            send(request, DATA)
            return True
        return False

    fake.hooks.append(refuse)
    assert whole(blob(opened(SMALL))) == DATA


@pytest.mark.parametrize("status", [403, 416, 429, 500])
def test_where_several_connections_do_not_do_one_does(
    fake: FakeRegistry, opened: Open, status: int
) -> None:
    """As of a server that limits them; the last ones are refused."""

    def refuse(request: Request) -> bool:
        if is_part(request) and len(parts(fake)) > 6:
            request.error(status, "TOOMANYREQUESTS", "too many connections")
            return True
        return False

    fake.hooks.append(refuse)
    assert whole(blob(opened(SMALL))) == DATA


def test_a_registry_that_is_gone_is_said(fake: FakeRegistry, opened: Open) -> None:
    stream = blob(opened(SMALL))
    begin = stream.read(300 * KIB)

    def gone(request: Request) -> bool:
        if "/blobs/" in request.path:
            request.close_connection = True
            return True
        return False

    fake.hooks.append(gone)
    with pytest.raises(KnarrError):
        while data := stream.read(10_000):
            begin += data
    assert DATA.startswith(begin)
    stream.close()


def test_where_no_parts_are_offered(fake: FakeRegistry, opened: Open) -> None:
    def silent(request: Request) -> bool:
        if "/blobs/" in request.path:
            request.reply(200, DATA, {"Content-Type": "application/octet-stream"})
            return True
        return False

    fake.hooks.append(silent)
    assert whole(blob(opened(SMALL))) == DATA
    assert len(fake.asked("GET", "/blobs/")) == 1


@pytest.mark.parametrize(
    "width",
    [
        Width(piece=PIECE, look=16 * KIB, least=4 * PIECE, fast=math.inf),  # it is near
        Width(piece=PIECE, look=16 * KIB, least=4 * PIECE, fast=1.0, nearby=True),  # and quick
        Width(piece=PIECE, look=16 * KIB, least=len(DATA), fast=math.inf, nearby=True),
        Width(extra=0, piece=PIECE, look=16 * KIB, least=4 * PIECE, fast=math.inf, nearby=True),
    ],
)
def test_one_connection_is_enough(fake: FakeRegistry, opened: Open, width: Width) -> None:
    assert whole(blob(opened(width))) == DATA
    assert len(fake.asked("GET", "/blobs/")) == 1


def test_all_blobs_together_have_a_bound(fake: FakeRegistry, opened: Open) -> None:
    registry = opened(Width(extra=2, piece=PIECE, look=16 * KIB, least=4 * PIECE, fast=math.inf,
                            nearby=True))  # fmt: skip
    one, two = blob(registry), blob(registry)
    one.read(20 * KIB)
    two.read(20 * KIB)
    assert threads() == 3  # of the first alone
    assert whole(two) == DATA[20 * KIB :]
    assert whole(one) == DATA[20 * KIB :]
    wait_until(lambda: threads() == 0)
    # They were given back.
    parted = len(parts(fake))
    assert whole(blob(registry)) == DATA
    assert len(parts(fake)) > parted


def test_who_does_not_want_the_rest_leaves_nothing(fake: FakeRegistry, opened: Open) -> None:
    stream = blob(opened(SMALL))
    stream.read(300 * KIB)
    assert threads()
    stream.close()
    wait_until(lambda: threads() == 0)
