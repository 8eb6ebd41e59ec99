"""What this kernel can do, found out by doing it (never by its version)."""

import os

from knarr.kernel import mounts as k
from knarr.runtime import usernamespace
from knarr.runtime.rootfs import clone_tree, open_root
from knarr.spec.mount import Mount

TYPE_CHECKING = False

_BASE = 0x20000000
_RANGE = ((0, _BASE, 65536),)


def probe(directory: str) -> "dict[str, bool | str]":
    """Return which features work for containers kept in ``directory``.

    idmap: idmapped mounts there, with an overlay on top (5.19 for overlay).
    overlay_append: overlays take their layers one by one (6.8). mount_api: fsopen(2).
    mount_setattr: attributes by descriptor (5.12).
    A reason stands in ``idmap_error`` when idmap is False, and ``idmap_denied`` says whether it
    is for want of rights. Raises PermissionError for a user other than root.
    """
    result: dict[str, bool | str] = {"mount_api": _works(_mount_api)}
    result["mount_setattr"] = _works(_mount_setattr)
    append = _works(lambda: _overlay_append(directory))
    result["overlay_append"] = append
    try:
        _idmap(directory, append)
    except OSError as error:
        _raise_for_users(error)
        result["idmap"] = False
        result["idmap_error"] = error.strerror or str(error)
        result["idmap_denied"] = isinstance(error, PermissionError)
    else:
        result["idmap"] = True
    return result


def _works(attempt: "object") -> bool:
    assert callable(attempt)
    try:
        attempt()
    except OSError as error:
        _raise_for_users(error)
        return False
    return True


def _raise_for_users(error: OSError) -> None:
    """Raise what only says that this user may not: it tells nothing about the kernel.

    To root it tells something: filters for system calls refuse those that they do not know so.
    """
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        raise error


def _mount_api() -> None:
    os.close(k.fsopen("tmpfs"))


def _mount_setattr() -> None:
    fd = k.open_tree(k.AT_FDCWD, "/", k.OPEN_TREE_CLONE)
    try:
        k.mount_setattr(fd, attr_set=k.MOUNT_ATTR_RDONLY)
    finally:
        os.close(fd)


def _overlay_append(directory: str) -> None:
    context = k.fsopen("overlay")
    try:
        # Before Linux 6.5 overlay takes any word here and only complains when it is mounted.
        if _works(lambda: k.fsconfig_flag(context, "no-such-option")):
            raise OSError(38, "overlay: options are not looked at one by one")
        k.fsconfig_string(context, "lowerdir+", directory)
    finally:
        os.close(context)


def _idmap(directory: str, append: bool) -> None:
    """Mount an overlay over idmapped layers in a directory that is removed again."""
    base = f"{directory}/.probe-{os.getpid()}"
    layers = ("lower", "upper", "work")
    for name in ("", *layers):
        os.mkdir(f"{base}/{name}")
    try:
        userns = usernamespace.make(_RANGE, _RANGE)
        try:
            os.close(clone_tree(base, userns))
            mount = Mount("overlay", base, ("lower=lower", "upper=upper", "work=work"))
            root = open_root([mount], userns, (_BASE, _BASE), append=append)
            owner = os.fstat(root).st_uid
            os.close(root)
        finally:
            os.close(userns)
        if owner != _BASE:
            raise OSError(22, "an overlay over idmapped layers does not show their ids")
    finally:
        _remove(base)


def _remove(base: str) -> None:
    for directory, names, files in os.walk(base, topdown=False):
        for name in files:
            os.unlink(f"{directory}/{name}")
        for name in names:
            os.rmdir(f"{directory}/{name}")
    os.rmdir(base)
