"""Resource limits, accounting, freezing and killing of containers by control groups.

``manager.detect()`` returns the manager that fits this machine. A manager makes
groups; a group is one container's place in all hierarchies. ``v1`` and ``v2`` hold one
file per controller with the same names; each turns OCI ``linux.resources`` into a list
of writes (pure) which the group then carries out.

ValueError means that a value is wrong, UnsupportedResource (a ValueError) that this
machine cannot do what was asked, OSError (with ``filename``) that the kernel refused.
"""

from knarr.cgroups.errors import UnsupportedResource

__all__ = ["UnsupportedResource"]
