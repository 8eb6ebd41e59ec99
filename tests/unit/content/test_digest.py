from __future__ import annotations

import hashlib

import pytest

from knarr.content import digest
from knarr.errors import InvalidArgument

SHA256 = "sha256:" + "a" * 64
SHA512 = "sha512:" + "0" * 128


@pytest.mark.parametrize("text", [SHA256, SHA512])
def test_parse_good(text: str) -> None:
    assert digest.parse(text) == tuple(text.split(":"))
    assert digest.is_valid(text)


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63, SHA256 + "\n", "md5:" + "a" * 32,
     "sha256:../../../etc/passwd", "a" * 64, "sha512:" + "a" * 64, None, 7],
)  # fmt: skip
def test_parse_bad(text: str) -> None:
    assert not digest.is_valid(text)
    with pytest.raises(InvalidArgument):
        digest.parse(text)


def test_of_and_hasher() -> None:
    assert digest.of(b"x") == "sha256:" + hashlib.sha256(b"x").hexdigest()
    assert digest.of(b"x", "sha512") == "sha512:" + hashlib.sha512(b"x").hexdigest()
    with pytest.raises(InvalidArgument):
        digest.hasher("md5")


def test_chain_ids_as_the_image_spec_defines_them() -> None:
    one, two = digest.of(b"1"), digest.of(b"2")
    second = "sha256:" + hashlib.sha256(f"{one} {two}".encode()).hexdigest()
    assert digest.chain_ids([one, two]) == [one, second]
    assert digest.chain_ids([]) == []
    with pytest.raises(InvalidArgument):
        digest.chain_id("nonsense", one)
