"""What a container may do: users, capabilities, seccomp profiles, ``--security-opt``."""
