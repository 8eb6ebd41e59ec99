"""``python -m knarr.oci``."""

import sys

from knarr.oci.entry import main

main(sys.argv[1:])
