"""The command of the tests in ``integration/cli``."""

from tests.integration.cli.conftest import box, installed, prefix

__all__ = ["box", "installed", "prefix"]
