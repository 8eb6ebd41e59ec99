"""``knarr-oci``: the command of an OCI runtime, as podman, containerd and buildah call it.

A face that stands directly on ``runtime``: it turns a bundle into a plan, and a directory of
small files below ``--root`` into the life of a container that nobody watches.
"""
