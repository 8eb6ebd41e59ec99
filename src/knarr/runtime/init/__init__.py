"""knarr's own init: a static executable of under a kilobyte, for ``--init`` and for sandboxes.

What it does stands at the head of x86_64.S. It is kept as bytes, so that a container can
be given it from memory: nothing to install, nothing of the host's file system inside.
"""

import os


def blob(machine: "str | None" = None) -> bytes:
    """Return the ELF executable for ``machine`` (as uname(2) names it; None: this one).

    Raises LookupError for a machine it was not written for.
    """
    name = os.uname().machine if machine is None else machine
    if name == "x86_64":
        from knarr.runtime.init import blob_x86_64

        return blob_x86_64.BLOB
    if name == "aarch64":
        from knarr.runtime.init import blob_aarch64

        return blob_aarch64.BLOB
    raise LookupError(f"no init for machine {name!r}")
