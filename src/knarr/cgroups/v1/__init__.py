"""cgroup v1: one file per controller, ``plan`` is pure, ``apply`` writes, ``stats`` reads."""
