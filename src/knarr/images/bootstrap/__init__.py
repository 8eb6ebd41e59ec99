"""Base images made on this machine from Debian's own packages: no registry needed."""
