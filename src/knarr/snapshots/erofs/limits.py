"""What an index cannot hold: the layer is unpacked then."""

from __future__ import annotations


class CannotIndex(Exception):
    """A layer that is no index: text says what it has. No error of the layer's.

    Also raised for what may be wrong with it: unpacking it gives the answer.
    """
