"""The OCI runtime: an OCI spec becomes steps, steps become a program of system calls.

``plan`` is pure: it turns a spec into steps that can be printed and compared, and
``child`` writes their program. ``process`` clones the container's first process,
which carries the program out in its new namespaces up to the gate, waits there,
and ends in execve; it runs no Python (``program``). Nothing in this package knows
images, networks or the engine.
"""
