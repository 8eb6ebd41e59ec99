"""What containers look like from outside: state, list, ps, features, spec."""

import os

from knarr._version import __version__
from knarr.errors import NotFound
from knarr.kernel import plainjson
from knarr.oci import state
from knarr.oci.errors import UsageError
from knarr.oci.rootless import default_root

SPEC_VERSION = "1.3.0"
# The table is that of runc, to the letter: others take it apart.
_NARROWEST, _GAP = 12, 3
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def version() -> str:
    """Return the answer to ``--version``, in the lines that podman and containerd take apart."""
    return f"knarr-oci version {__version__}\nspec: {SPEC_VERSION}\n"


def one(root: str, name: str) -> str:
    """Return a container's state as JSON; raises NotFound."""
    return plainjson.indented(state.load(root, name).shown()) + "\n"


def listed(root: str, form: str, *, quiet: bool) -> str:
    """Return all containers as runc does: as a table, as JSON, or the names alone.

    Raises NotFound for a root that somebody has named and that is not there.
    """
    if root != default_root(os.environ) and not os.path.isdir(root):
        raise NotFound(f"--root {root}: there is no such directory")
    found = []
    for name in state.names(root):
        try:
            found.append(state.load(root, name).shown())
        except NotFound:
            continue  # removed meanwhile
    if quiet:
        return "".join(f"{one['id']}\n" for one in found)
    if form == "json":
        return plainjson.dumps(found or None, separators=(",", ":")) + "\n"
    rows = [_COLUMNS, *(tuple(str(one[name.lower()]) for name in _COLUMNS) for one in found)]
    columns = range(len(_COLUMNS) - 1)  # nothing follows the last
    widths = [max(_NARROWEST, *(len(row[at]) + _GAP for row in rows)) for at in columns]
    lines = [
        "".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True))
        for row in rows
    ]
    return "".join(f"{line}\n" for line in lines)


def processes(root: str, name: str, form: str, words: "list[str]") -> str:
    """Return a container's processes: as ps(1) shows them (with these arguments), or JSON."""
    from knarr.oci import lifecycle  # state, which callers ask for often, does without

    found = lifecycle.processes(root, name)
    if form == "json":
        return plainjson.dumps(found, separators=(",", ":")) + "\n"
    import subprocess

    shown = subprocess.run(["ps", *(words or ["-ef"])], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise UsageError(f"ps {' '.join(words)}: {shown.stderr.strip()}")
    head, *lines = shown.stdout.splitlines()
    titles = head.split()
    if "PID" not in titles:
        raise UsageError(f"ps {' '.join(words)}: shows no column PID")
    column = titles.index("PID")
    own = [line for line in lines if int(line.split()[column]) in found]
    return "".join(f"{line}\n" for line in (head, *own))


def features() -> str:
    """Return what this runtime can do (runtime-spec features.md): the same on every machine."""
    from knarr.oci.abilities import every_feature

    return plainjson.indented(every_feature()) + "\n"


def write_spec(bundle: str, *, rootless: bool = False) -> None:
    """Write a configuration to begin with into a bundle; raises OSError when there is one.

    rootless: one that this user can run without root.
    """
    from knarr.oci.abilities import default_config, without_root

    config = default_config()
    if rootless:
        config = without_root(config, os.geteuid(), os.getegid())

    path = os.path.join(bundle, "config.json")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(fd, "w") as file:
        file.write(plainjson.indented(config, "\t") + "\n")
