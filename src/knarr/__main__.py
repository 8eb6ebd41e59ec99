"""``python -m knarr``: the command, for whoever has the package and not its script."""

from __future__ import annotations

from knarr.cli.__main__ import main

if __name__ == "__main__":
    main()
