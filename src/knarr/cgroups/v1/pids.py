"""Number of processes and threads: the files of v1 are those of v2."""

from knarr.cgroups.v2 import pids

CONTROLLER = "pids"
plan = pids.plan
apply = pids.apply
FIGURES = pids.FIGURES
more = pids.more
