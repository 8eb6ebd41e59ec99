"""The engine room: the composition root that joins images, snapshots, cgroups and supervisors."""
