"""The mount option ``remount``: what a mount made before, or the image's root, is changed to."""

import os

from knarr.kernel import mounts as k
from knarr.runtime.mountopts import MountOptions, superblock_options
from knarr.runtime.program.builder import Builder
from knarr.runtime.program.memory import TEMPORARY
from knarr.runtime.program.paths import open_in_root
from knarr.runtime.steps.base import Setting, Step
from knarr.runtime.steps.mounts import (
    configure,
    count_versions,
    set_attributes,
    set_propagation,
)

_TARGET, _CONTEXT = TEMPORARY[2], TEMPORARY[0]


class Remount(Step):
    """Change the attributes of a mount, and without ``bind`` the options of its file system."""

    __slots__ = ("destination", "options")

    def __init__(self, destination: str, options: MountOptions) -> None:
        self.destination = destination
        self.options = options

    def emit(self, b: Builder, setting: Setting) -> None:
        """See mount(2), "Remounting an existing mount"; what is no mount is EINVAL.

        As with mount(8), what the options do not name stays.
        """
        del setting
        options = self.options
        open_in_root(b, self.destination, _TARGET, os.O_PATH)
        words = [*superblock_options(options), *options.data]
        if not options.bind and (words or (options.set_flags | options.clear_flags) & k.MS_RDONLY):
            b.call("fspick", _TARGET, "", k.FSPICK_CLOEXEC | k.FSPICK_EMPTY_PATH, out=_CONTEXT,
                   path=self.destination)  # fmt: skip
            if (options.set_flags | options.clear_flags) & k.MS_RDONLY:
                words.append("ro" if options.set_flags & k.MS_RDONLY else "rw")
            configure(b, _CONTEXT, words)
            b.call("fsconfig", _CONTEXT, k.FSCONFIG_CMD_RECONFIGURE, None, None, 0,
                   path=self.destination)  # fmt: skip
            b.call("close", _CONTEXT)
        set_attributes(b, _TARGET, options, self.destination)
        if not options.bind:
            count_versions(b, _TARGET, options)
        if options.propagation:
            set_propagation(b, _TARGET, options.propagation)
        b.call("close", _TARGET)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"remount {self.destination} ({','.join(self.options.words)})"
