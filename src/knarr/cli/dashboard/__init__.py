"""``knarr top --all``: a table of containers that fills the screen, with keys to act on them.

``lines`` is what is shown and in which order, pure; ``app`` and ``screens`` show it with
textual, which only they import; ``driver`` joins textual to the caller's terminal.
"""
