"""Programs of system calls: what a plan becomes for the process that carries it out.

``builder`` writes them, ``carrier`` has them carried out, ``memory`` is what the
process shares with its maker, ``paths`` are the look-ups that many steps need.
"""
