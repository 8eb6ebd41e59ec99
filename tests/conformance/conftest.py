"""``knarr-oci`` with a root of the test's own, as in tests/integration/oci."""

from __future__ import annotations

from tests.integration.oci.conftest import oci, rootfs

__all__ = ["oci", "rootfs"]
