"""Modules of the standard library without what makes them slow to load.

``signal`` is the interpreter's own ``_signal``: functions and numbers, and none of the
enumerations of ``signal``, which cost a command more than any module of ours.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal"]
