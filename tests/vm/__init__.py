"""Debian's own kernels under QEMU, for what the developer's machine lacks.

    mirror     where Debian packages come from: the host's own apt sources
    kernels    a kernel and its modules out of a Debian suite
    image      a small Debian 12 with systemd as an ext4 file, made once
    initramfs  the few modules needed to reach that file, as a cpio archive
    machine    one QEMU: boot, stream a job's output, end by status or by power loss
    jobs       what runs inside, by name; the scripts are in jobs/

``python -m tests.vm --help`` is the command line. Everything that takes long is
kept in ``$XDG_CACHE_HOME/knarr-vm``.
"""
