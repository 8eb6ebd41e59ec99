"""Configurations survive the database unchanged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.engine import serial
from knarr.engine.model import (
    BindMount,
    ContainerConfig,
    HealthCheck,
    HostPort,
    Limits,
    ThrottleDevice,
    Tmpfs,
    Usage,
)

FULL = ContainerConfig(
    image="busybox",
    command=("sh", "-c", "echo"),
    name="web",
    entrypoint=(),
    env=("A=1", "B"),
    labels={"k": "v"},
    tty=True,
    tmpfs=(Tmpfs("/tmp"), Tmpfs("/run", ("size=1m", "exec"))),
    binds=(BindMount("/a", "/b"), BindMount("/c", "/d", read_only=True, create_source=False)),
    limits=Limits(memory=1 << 20, device_read_bps=(ThrottleDevice("/dev/sda", 7),)),
    kill_on_owner_exit=True,
    ports=(HostPort(80), HostPort(53, "udp", "127.0.0.1", 5353, 5353)),
    publish_all=True,
    expose=("9000/tcp",),
    health=HealthCheck(("CMD-SHELL", "true"), interval=10**9, retries=2),
)


@pytest.mark.parametrize("config", [ContainerConfig(image="x"), FULL])
def test_round_trip(config: ContainerConfig) -> None:
    assert serial.decode(serial.encode(config)) == config


def test_defaults_are_not_written() -> None:
    assert json.loads(serial.encode(ContainerConfig(image="x"))) == {"image": "x"}


def test_names_of_a_newer_release_are_ignored() -> None:
    assert serial.decode('{"image":"x","from_the_future":[1]}') == ContainerConfig(image="x")


@given(
    st.lists(st.text()), st.dictionaries(st.text(), st.text()), st.none() | st.integers(0, 1 << 62)
)
def test_round_trip_of_anything(
    command: list[str], labels: dict[str, str], memory: int | None
) -> None:
    config = ContainerConfig("i", tuple(command), labels=labels, limits=Limits(memory=memory))
    assert serial.decode(serial.encode(config)) == config


def test_usage_takes_what_it_knows() -> None:
    assert serial.usage({"cpu_total": 5, "unknown": 1}) == Usage(cpu_total=5)
    assert serial.usage(None) == Usage()
