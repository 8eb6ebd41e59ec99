"""The command of the tests in ``integration/cli``, on a host's network of its own."""

from tests.integration.cli.conftest import box, installed, prefix
from tests.support.nethost import nethost

__all__ = ["box", "installed", "nethost", "prefix"]
