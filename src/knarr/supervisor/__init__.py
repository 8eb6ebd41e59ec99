"""One process per running container, and the launcher that forks them.

``launcher`` is the small single-threaded process from which everything is
forked; ``container`` and ``execs`` are what the forked process does; ``client``
is how the engine asks for it. The container lives on when any of them dies.
"""
