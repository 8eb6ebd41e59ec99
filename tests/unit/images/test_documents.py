import pytest

from knarr.errors import InvalidArchive
from knarr.images import documents


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":1,"a":2}', "repeats a key"),
        (b'{"a":' + b"9" * 41 + b"}", "too many digits"),
        (b"[" * 100_000 + b"]" * 100_000, "too deep"),
        (b"[]", "not a JSON object"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b'{"\\udfff":1}', "not valid JSON"),
        ('{"a":1}'.encode("utf-16"), "not valid JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not valid JSON"),
        (b'"' + b"x" * documents.LIMIT + b'"', "at most"),
    ],
)
def test_bad_documents_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidArchive, match=reason):
        documents.parse_object(data, "thing")


def test_four_mebibytes_are_accepted() -> None:
    data = b'{"a":"' + b"x" * (documents.LIMIT - 8) + b'"}'
    assert len(data) == documents.LIMIT
    assert len(documents.parse_object(data, "thing")["a"]) == documents.LIMIT - 8


@pytest.mark.parametrize(
    ("reader", "good", "bad"),
    [
        (documents.text, "x", 1),
        (documents.strings, ["x"], ["x", 1]),
        (documents.strings, ["x"], "x"),
        (documents.string_map, {"a": "b"}, {"a": 1}),
        (documents.string_map, {}, []),
        (documents.objects, [{}], [1]),
        (documents.mapping, {"a": 1}, []),
        (documents.integer, 2**63 - 1, 2**63),
        (documents.integer, 0, -1),
        (documents.integer, 1, True),
        (documents.integer, 1, 1.0),
        (documents.integer, 1, None),
    ],
)
def test_fields_have_types(reader: object, good: object, bad: object) -> None:
    assert callable(reader)
    assert reader({"f": good}, "f", "thing") is not None
    with pytest.raises(InvalidArchive, match="thing: f"):
        reader({"f": bad}, "f", "thing")


def test_null_is_as_good_as_absent() -> None:
    assert documents.text({"f": None}, "f", "t", "default") == "default"
    assert documents.strings({}, "f", "t") == ()
    assert documents.objects({"f": None}, "f", "t") == []


def test_dump_keeps_order_and_text() -> None:
    assert documents.dump({"b": "ü", "a": [1]}) == '{"b":"ü","a":[1]}'.encode()
