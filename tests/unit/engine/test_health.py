"""What a container's health check is: its own settings over its image's, as Docker merges them."""

from __future__ import annotations

from typing import Any

import pytest

from knarr.engine import health
from knarr.engine.model import ContainerConfig, HealthCheck
from knarr.errors import InvalidArgument

S = 10**9
IMAGE: dict[str, Any] = {
    "Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 5 * S, "Retries": 4}
}


@pytest.mark.parametrize(
    ("own", "image", "shown", "checked"),
    [
        (None, {}, None, False),
        (None, IMAGE, IMAGE["Healthcheck"], True),
        (HealthCheck(("NONE",)), {}, {"Test": ["NONE"]}, False),
        (
            HealthCheck(("NONE",)),
            IMAGE,
            {"Test": ["NONE"], "Interval": 5 * S, "Retries": 4},
            False,
        ),
        (
            HealthCheck(("CMD-SHELL", "true")),
            IMAGE,
            {"Test": ["CMD-SHELL", "true"], "Interval": 5 * S, "Retries": 4},
            True,
        ),
        (
            HealthCheck(interval=S, timeout=2 * S, start_period=3 * S, start_interval=4 * S),
            IMAGE,
            {
                "Test": ["CMD-SHELL", "curl x"], "Interval": S, "Timeout": 2 * S,
                "StartPeriod": 3 * S, "StartInterval": 4 * S, "Retries": 4,
            },
            True,
        ),
        # settings of nothing
        (HealthCheck(interval=S), {}, {"Interval": S}, False),
        (None, {"Healthcheck": {"Test": []}}, {}, False),
        (
            None,
            {"Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "Timeout": -1, "Retries": -2}},
            {"Test": ["CMD", "x"], "Interval": 10**6, "Timeout": 10**6},
            True,
        ),
        (None, {"Healthcheck": {"Test": ["CMD", "x"]}}, {"Test": ["CMD", "x"]}, True),
        (None, {"Healthcheck": {"Test": ["TCP", "x"]}}, {}, False),
    ],
)  # fmt: skip
def test_own_settings_over_the_images(
    own: HealthCheck | None, image: dict[str, Any], shown: dict[str, Any] | None, checked: bool
) -> None:
    check = health.wanted(ContainerConfig("x", health=own), image)
    assert health.is_checked(check) is checked
    assert (None if check is None else health.as_docker(check)) == shown


def test_a_sandbox_does_not_run_what_the_image_would_check() -> None:
    assert health.wanted(ContainerConfig("x", sandbox=True), IMAGE) is None
    own = HealthCheck(("CMD", "true"))
    assert health.wanted(ContainerConfig("x", sandbox=True, health=own), IMAGE) == own


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"interval": 3}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"timeout": 999_999}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"start_period": -1}, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ({"start_interval": 1}, "StartInterval in Healthcheck cannot be less than 1ms"),
        ({"interval": 2**63}, "Interval in Healthcheck is more than 290 years"),
        ({"retries": -1}, "Retries in Healthcheck cannot be negative"),
        ({"test": "true"}, "give its words"),
        ({"test": ("true",)}, "health check 'true': the first word is one of CMD, CMD-SHELL, NONE"),
    ],
)
def test_what_is_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        HealthCheck(**values)
