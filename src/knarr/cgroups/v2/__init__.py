"""cgroup v2: one file per controller, ``plan`` is pure, ``apply`` writes, ``stats`` reads."""
