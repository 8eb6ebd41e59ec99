"""Typed wrappers of Linux system calls that raise OSError and hold no policy.

Each function is one call (or one ioctl); its errors carry the name of the
call and, where there is one, the path. Nothing here logs, retries, falls back
or knows what a container is. Imports: ctypes, os, struct and C modules only.
"""
