from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from knarr.errors import Conflict, InvalidArgument
from knarr.web.listening import Address, address, listen


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1:5000", Address("127.0.0.1", 5000)),
        (":5000", Address("", 5000)),
        ("tcp://host:0", Address("host", 0)),
        ("[::1]:80", Address("::1", 80)),
        ("/run/x.sock", Address(path="/run/x.sock")),
        ("unix:///run/x.sock", Address(path="/run/x.sock")),
    ],
)
def test_addresses(text: str, wanted: Address) -> None:
    assert address(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:x", "host:70000", "::1:80", "unix://x", "h:٣"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument):
        address(text)


def test_who_can_reach_it() -> None:
    for text in ("127.0.0.1:1", "localhost:1", "[::1]:1", "/x"):
        assert address(text).loopback
    for text in (":1", "0.0.0.0:1", "host:1"):
        assert not address(text).loopback


def test_an_address_in_use(tmp_path: Path) -> None:
    with (
        listen(Address("127.0.0.1", 0)) as one,
        pytest.raises(Conflict, match="Address already in use"),
    ):
        listen(Address("127.0.0.1", one.getsockname()[1]))
    with pytest.raises(InvalidArgument):
        listen(Address("no.such.host.invalid", 1))


def test_all_addresses_take_both_families() -> None:
    with listen(Address("", 0)) as link:
        port = link.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass


def test_unix_sockets(tmp_path: Path) -> None:
    where = Address(path=str(tmp_path / "x.sock"))
    with listen(where, 0o600):
        assert os.stat(where.path).st_mode & 0o777 == 0o600
        with pytest.raises(Conflict, match="somebody listens there already"):
            listen(where)
    with listen(where):  # what was left behind is replaced
        pass
    (tmp_path / "file").write_text("precious")
    with pytest.raises(Conflict, match="another file is there"):
        listen(Address(path=str(tmp_path / "file")))
    assert (tmp_path / "file").read_text() == "precious"
