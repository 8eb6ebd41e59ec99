"""What a server does before its workers need it: a container is made in thought, some times over.

The interpreter replaces instructions by faster ones after some rounds (PEP 659), and blocks of
programs are kept (``program.kept``): workers, which are forks, have both from the beginning.
Nothing is made, and nothing is asked of any bundle.
"""

from knarr.kernel import plainjson
from knarr.oci import config as configs
from knarr.oci import likeness
from knarr.oci.abilities import default_config
from knarr.oci.shape import check
from knarr.runtime import fifogate
from knarr.runtime.steps.base import Circumstances

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ROUNDS = 10


def practise() -> None:
    """Go through the motions of ``create`` for a usual configuration."""
    config = default_config()
    config["process"]["terminal"] = False
    text = plainjson.dumps(config).encode()
    for _ in range(_ROUNDS):
        try:
            _once(plainjson.loads(text))
        except Exception:  # of any kind
            # Whatever this machine lacks, a defect included: the command meets it as well, and
            # says so. The server is there for all others.
            return


def _once(config: "dict[str, Any]") -> None:
    likeness.inherited("self")
    plan = configs.plan_of(check(config), "/", "/rootfs")
    gate = fifogate.FifoGate("", "")
    fifogate.failure((0, 0), plan, Circumstances((0, 1, 2), filtered=False), gate)
