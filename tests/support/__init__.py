"""Helpers that several test folders share: images, processes, and what must not be left over."""
