"""bpf(2): loading programs and attaching them to control groups.

Each function makes one call and raises OSError with its name.
"""

import ctypes
import errno
import struct

from knarr.kernel.libc import syscall

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 5, 8, 9
_PROG_GET_FD_BY_ID, _OBJ_GET_INFO, _PROG_QUERY = 13, 15, 16

PROG_TYPE_CGROUP_DEVICE = 15
CGROUP_DEVICE = 6
F_ALLOW_MULTI = 2

_RLIMIT_MEMLOCK_ERRORS = (errno.EPERM, errno.ENOMEM)


def _bpf(command: int, attributes: "bytes | ctypes.Array[ctypes.c_char]", name: str) -> int:
    """Make the call; attributes are an array where the kernel writes into them."""
    try:
        return syscall("bpf", command, attributes, len(attributes))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({name})") from None


def load(kind: int, instructions: bytes, name: str, license_text: str = "GPL") -> int:
    """Load a program (8 bytes an instruction) and return its descriptor, close-on-exec.

    name is at most 15 letters, digits, dots and underscores. Before 5.11 the kernel
    counts programs against RLIMIT_MEMLOCK; when it refuses for that, the limit of this
    process is raised as far as allowed and the call made again. A program that the
    verifier refuses raises OSError with the last line of its log.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    terms = ctypes.create_string_buffer(license_text.encode())

    def once(log: "ctypes.Array[ctypes.c_char] | None") -> int:
        attributes = struct.pack(
            "=IIQQIIQII16s",
            kind,
            len(instructions) // 8,
            ctypes.addressof(code),
            ctypes.addressof(terms),
            0 if log is None else 1,
            0 if log is None else len(log),
            0 if log is None else ctypes.addressof(log),
            0,
            0,
            name.encode()[:15],
        )
        return _bpf(_PROG_LOAD, attributes, "PROG_LOAD")

    try:
        return once(None)
    except OSError as error:
        if error.errno in _RLIMIT_MEMLOCK_ERRORS and _raise_memlock():
            return once(None)
        if error.errno not in (errno.EINVAL, errno.EACCES):
            raise
    log = ctypes.create_string_buffer(16384)
    try:
        return once(log)
    except OSError as error:
        lines = log.value.decode(errors="replace").strip().splitlines()
        reason = next((line for line in reversed(lines) if not line.startswith("processed")), "")
        raise OSError(error.errno, f"{error.strerror} {reason}".strip()) from None


def _raise_memlock() -> bool:
    import resource  # only kernels before 5.11 need it

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == resource.RLIM_INFINITY:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
    except (ValueError, OSError):
        if soft == hard:
            return False
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    return True


def attach(group_fd: int, program_fd: int, kind: int, flags: int) -> None:
    """Attach a program to the group whose directory is open as group_fd."""
    attributes = struct.pack("=iiIII", group_fd, program_fd, kind, flags, 0)
    _bpf(_PROG_ATTACH, attributes, "PROG_ATTACH")


def detach(group_fd: int, program_fd: int, kind: int) -> None:
    """Detach a program from a group; ENOENT when it is not attached."""
    attributes = struct.pack("=iiIII", group_fd, program_fd, kind, 0, 0)
    _bpf(_PROG_DETACH, attributes, "PROG_DETACH")


def attached(group_fd: int, kind: int, most: int = 64) -> list[int]:
    """Return the ids of the programs attached to the group itself, in their order."""
    ids = (ctypes.c_uint32 * most)()
    data = struct.pack("=iIIIQII", group_fd, kind, 0, 0, ctypes.addressof(ids), most, 0)
    attributes = ctypes.create_string_buffer(data, len(data))
    _bpf(_PROG_QUERY, attributes, "PROG_QUERY")
    count = struct.unpack_from("=I", attributes.raw, 24)[0]
    return list(ids)[:count]


def open_id(number: int) -> int:
    """Return a descriptor of the loaded program with that id; ENOENT when it is gone."""
    return _bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0), "PROG_GET_FD_BY_ID")


def name(program_fd: int) -> str:
    """Return the name a program was loaded with."""
    return _info(program_fd)[64:80].split(b"\0", 1)[0].decode()


def identity(program_fd: int) -> int:
    """Return the id of a loaded program, for ``open_id`` as long as somebody holds it."""
    number: int = struct.unpack_from("=I", _info(program_fd), 4)[0]
    return number


def _info(program_fd: int) -> bytes:
    """Return the head of struct bpf_prog_info.

    That is: type, id, tag[8], four u32/u64 fields of code, load_time, created_by_uid,
    nr_map_ids, map_ids, then name[16].
    """
    info = ctypes.create_string_buffer(128)
    attributes = struct.pack("=iIQ", program_fd, len(info), ctypes.addressof(info))
    _bpf(_OBJ_GET_INFO, attributes, "OBJ_GET_INFO_BY_FD")
    return info.raw
