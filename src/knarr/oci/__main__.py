"""``python -m knarr.oci``."""

import sys

from knarr.oci.main import main

main(sys.argv[1:])
