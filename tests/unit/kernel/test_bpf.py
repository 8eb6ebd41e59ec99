import errno

import pytest

from knarr.kernel import bpf


def test_a_refusal_names_the_call() -> None:
    with pytest.raises(OSError) as caught:
        bpf.open_id(0xFFFFFFFF)
    assert caught.value.errno in (errno.ENOENT, errno.EPERM)
    assert "PROG_GET_FD_BY_ID" in str(caught.value)
    with pytest.raises(OSError, match="PROG_ATTACH"):
        bpf.attach(-1, -1, bpf.CGROUP_DEVICE, bpf.F_ALLOW_MULTI)
