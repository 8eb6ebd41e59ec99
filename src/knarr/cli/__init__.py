"""The command ``knarr``: argv in, calls of the engine, printing; decides nothing.

``scripts/knarr`` (thin) -> ``server`` -> ``worker`` -> ``main.run`` -> ``commands/<verb>.py``.
Without a server, ``__main__`` runs the same ``main.run`` in the caller.
"""
