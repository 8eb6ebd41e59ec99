"""RDMA handles and objects: the file of v1 is that of v2."""

from knarr.cgroups.v2 import rdma

CONTROLLER = "rdma"
plan = rdma.plan
apply = rdma.apply
