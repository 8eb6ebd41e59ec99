"""Containers that another OCI runtime makes: the same supervisor, another maker.

Only what has to do with such a container imports anything of this.
"""
