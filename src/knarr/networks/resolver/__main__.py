"""``python -m knarr.networks.resolver RUN_ROOT [IDLE]``: a resolver in the foreground."""

import os
import sys

from knarr.networks.resolver.client import IDLE
from knarr.networks.resolver.process import main

if __name__ == "__main__":
    idle = float(sys.argv[2]) if len(sys.argv) > 2 else IDLE
    main(sys.argv[1], idle, os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
