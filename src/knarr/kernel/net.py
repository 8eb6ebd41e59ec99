"""Interfaces of a network namespace by ioctl (netdevice(7))."""

SIOCSIFFLAGS = 0x8914
IFF_UP = 1
