from knarr.engine.probe import transferred

LISTED = b"""\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo: 1111  11    0    0    0     0          0         0     1111  11    0    0    0     0   0 0
  eth0: 100    1    0    0    0     0          0         0      200   2    0    0    0     0   0 0
veth12:30000000000 1 0    0    0     0          0         0        7   1    0    0    0     0   0 0
"""


def test_all_interfaces_but_lo() -> None:
    assert transferred(LISTED) == (30000000100, 207)


def test_no_interface() -> None:
    assert transferred(b"".join(LISTED.splitlines(keepends=True)[:3])) == (0, 0)
