import pytest

from knarr.cli.latest import warn

D = f"sha256:{'1' * 64}"


@pytest.mark.parametrize("image", ["busybox", "busybox:latest", "localhost:5000/app"])
def test_what_latest_may_become_is_said(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    warn([image, image], {})
    said = capsys.readouterr().err
    assert said.startswith(f"WARNING: {image}: 'latest' is whatever was pushed last")
    assert said.count("\n") == 1
    warn([image], {"KNARR_LATEST_WARNING": "0"})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "image", ["busybox:1", f"busybox@{D}", f"busybox:latest@{D}", D, "1" * 64, "Not A Name"]
)
def test_what_stays_what_it_is_is_not_warned_of(
    image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    warn([image], {})
    assert capsys.readouterr().err == ""
