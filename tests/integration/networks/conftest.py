"""Fixtures of networks."""

from tests.support.nethost import nethost

__all__ = ["nethost"]
