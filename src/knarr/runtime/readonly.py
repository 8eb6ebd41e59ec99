"""Files that are executed through a descriptor by which nobody can write to them.

Imports little: it is the first thing that ``knarr-oci`` needs, which then begins anew.
"""

import os

from knarr.kernel import mounts as k


def read_only_program(path: str) -> int:
    """Return a descriptor through which ``path`` can be executed but never be written.

    A read-only clone of the mount it lies on; a sealed copy in memory where the
    kernel cannot change a clone's attributes (before Linux 5.12).
    """
    try:
        fd = k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE)
    except OSError:
        return _sealed_copy(path)
    try:
        k.mount_setattr(fd, attr_set=k.MOUNT_ATTR_RDONLY)
    except OSError:
        os.close(fd)
        return _sealed_copy(path)
    return fd


def _sealed_copy(path: str) -> int:
    import fcntl

    memory = os.memfd_create("python", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, "rb") as file:
        while os.sendfile(memory, file.fileno(), None, 1 << 24):
            continue
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    return memory
