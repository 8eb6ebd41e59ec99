"""Layered file systems: image layers, and one writable layer per container."""
