"""Fixtures of networks; the command is that of the tests in ``integration/cli``."""

from tests.integration.cli.conftest import box, installed, prefix
from tests.support.nethost import nethost

__all__ = ["box", "installed", "nethost", "prefix"]
