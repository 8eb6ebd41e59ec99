"""A plugin of pytest for the jobs: a failure is told when it happens, not at the end.

A job may be cut off before pytest comes to its summary.
"""

from __future__ import annotations

import sys

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print why a test failed; xdist calls this in its main process for every worker."""
    if report.failed:
        sys.stdout.write(f"\n--- {report.nodeid}, {report.when}\n{report.longreprtext}\n")
        for title, text in report.sections:
            sys.stdout.write(f"- {title}\n{text}\n")
        sys.stdout.flush()
