"""/etc/hosts of a container with addresses."""

from __future__ import annotations

import pytest

from knarr.engine import hostfiles
from knarr.engine.model import ContainerConfig

ID = "c0ffee" * 10 + "abcd"


@pytest.mark.parametrize(
    ("host", "domain", "names"),
    [
        (None, None, ID[:12]),
        ("web", None, "web"),
        ("web", "example.org", "web.example.org web"),
        ("web.example.org", None, "web.example.org web"),
    ],
)
def test_each_address_has_the_hosts_names(host: str | None, domain: str | None, names: str) -> None:
    config = ContainerConfig(
        image="x", hostname=host, domainname=domain, extra_hosts=("db:10.9.9.9",)
    )
    text = hostfiles.addressed(config, ID, ["172.18.0.2", "fd00::2"])
    own = "10.9.9.9\tdb\n172.18.0.2\tNAMES\nfd00::2\tNAMES\n".replace("NAMES", names)
    assert text.startswith("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    assert text.endswith("ip6-allrouters\n" + own)
