"""The administrator's policy: what no container on this machine may be."""
