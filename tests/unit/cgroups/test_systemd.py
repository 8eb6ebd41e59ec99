import pytest

from knarr.cgroups import systemd


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("system.slice:knarr:abc", ("system.slice", "knarr-abc.scope")),
        (":knarr:abc", ("system.slice", "knarr-abc.scope")),
        ("user-1000.slice::abc", ("user-1000.slice", "abc.scope")),
        ("/knarr/abc", ("system.slice", "knarr-abc.scope")),
    ],
)
def test_parse(path: str, expected: tuple[str, str]) -> None:
    assert systemd.parse(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "abc",
        "a:b",
        "system.slice:a:",
        "x:a:b",
        "a/b.slice:a:b",
        "a--b.slice:a:b",
        "::a b",
        "::a.slice",
        "/",
    ],
)
def test_bad_paths(path: str) -> None:
    with pytest.raises(ValueError, match="cgroup path"):
        systemd.parse(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("system.slice", "/system.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
        ("-.slice", ""),
    ],
)
def test_expand(name: str, expected: str) -> None:
    assert systemd.expand(name) == expected


@pytest.mark.parametrize("name", ["a--b.slice", "-a.slice", ".slice", "a", "a/b.slice"])
def test_bad_slices(name: str) -> None:
    with pytest.raises(ValueError, match="slice"):
        systemd.expand(name)
