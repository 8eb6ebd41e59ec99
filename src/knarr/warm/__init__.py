"""A command that is there before it is called: a warm process, and workers that it forks.

Who serves what is said by those who use it: ``cli`` for ``knarr``, ``oci`` for ``knarr-oci``.
Why and how: docs/design/command-server.md.
"""
