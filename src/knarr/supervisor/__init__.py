"""One process per running container, and the launcher that forks them.

``launcher`` is a small single-threaded process, ``template`` the one it has
everything forked from; ``container`` and ``execs`` are what a forked process
does; ``client`` is how the engine asks for it. The container lives on when any of them dies.
"""
