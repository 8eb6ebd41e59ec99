"""Blocks that are kept: what is found under a key is what would be made anew."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.kernel.seccomp import FilterProgram
from knarr.runtime import child, plan, processplan
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.finalleg import Ending
from knarr.runtime.process import setting_for
from knarr.runtime.program import kept, memory
from knarr.runtime.program.builder import Block, Builder, Program
from knarr.runtime.program.memory import address_of
from knarr.runtime.program.operations import OPERATION, SIZE
from tests.support import launch

_FILTER = FilterProgram(bytes(8))
_make = kept.make
_block = kept.block
_ARGUMENTS = 7  # of an operation's record, the index of the first


def _value(thing: object) -> object:
    """Return a note as something to compare: what explains a failure is alike if its parts are."""
    slots = getattr(type(thing), "__slots__", None)
    if slots is None or isinstance(thing, (tuple, str)):
        return thing
    return type(thing), tuple(_value(getattr(thing, name)) for name in slots)


def plain(block: Block) -> list[object]:
    """Return a block as values: where an argument is an address, what stands there."""
    texts = {address_of(data): data for data in block.keep}
    operations = []
    for at in range(0, len(block.data), SIZE):
        record = OPERATION.unpack_from(block.data, at)
        arguments = [texts.get(value, value) for value in record[_ARGUMENTS:]]
        operations.append((*record[:_ARGUMENTS], *arguments))
    return [operations, [_value(note) for note in block.notes]]


def _compared(key: tuple[object, ...], write: Any, *arguments: object) -> Block:
    found = _block(key, write, *arguments)
    assert plain(found) == plain(_make(write, *arguments)), key
    return found


_flags = st.booleans()
_some = st.sampled_from
_caps = st.lists(_some(("CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE")))
_names = ("/data", "/etc/hosts", "/sys", "/proc/cpuinfo")
_options = st.lists(
    _some(("ro", "rw", "rro", "bind", "rbind", "rslave", "shared", "private", "nosuid", "noatime",
           "mode=755", "size=1", "sync", "relatime", "iversion", "remount", "rnoexec"))
    , max_size=4)  # fmt: skip
_mounts = st.fixed_dictionaries({
    "destination": _some(_names[:3]),
    "type": _some(("bind", "tmpfs", "sysfs", "cgroup", "cgroup2", "devpts")),
    "source": _some(("/a", "/b")),
    "options": _options,
})  # fmt: skip
_tmpfs = st.fixed_dictionaries({
    "destination": _some(_names[:3]),
    "type": st.just("tmpfs"),
    "options": _some((["tmpcopyup"], ["ro", "tmpcopyup"], ["tmpcopyup", "mode=755"])),
})  # fmt: skip


def _is_possible(mount: dict[str, Any]) -> bool:
    """Hierarchies of cgroup v1 have no options of their own."""
    return mount["type"] != "cgroup" or not any("=" in option for option in mount["options"])


_tty = {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0}
_devices = st.just(_tty) | st.fixed_dictionaries({
    "path": _some(("/dev/fuse", "/dev/kvm", "/dev/x")),
    "type": _some(("p", "u", "c", "b")),
    "major": _some((0, 1, 10)),
    "minor": _some((0, 1, 257)),
    "fileMode": _some((0, 0o600, 0o666)),
    "uid": _some((0, 1)),
    "gid": _some((0, 1)),
})  # fmt: skip
_process = st.fixed_dictionaries({
    "args": _some((["sh"], ["/bin/sh"], ["/dev/init"], ["/dev/init", "--", "sh"],
                   ["/dev/init", "sh", "x"], ["a b"])),
    "cwd": _some(("/", "/data", "/data/")),
    "env": st.lists(_some(("PATH=/bin", "PATH=/bin:/sbin", "PATH=", "HOME=/", "HOME", "A=1"))),
    "terminal": _flags,
    "consoleSize": _some(({}, {"height": 1, "width": 0}, {"height": 1, "width": 2})),
    "user": st.fixed_dictionaries({"uid": _some((0, 1)), "umask": _some((0, 0o22))},
                                  optional={processplan.USER_NAME: _some(("", "a"))}),
    "capabilities": st.dictionaries(
        _some(("bounding", "effective", "permitted", "inheritable", "ambient")), _caps),
    "noNewPrivileges": _flags,
    "rlimits": _some(([], [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}])),
    "apparmorProfile": _some(("", "one", "two")),
})  # fmt: skip
_paths = st.lists(_some(_names), max_size=3)
_linux = st.fixed_dictionaries({
    "maskedPaths": _paths,
    "readonlyPaths": _paths,
    "devices": st.lists(_devices, max_size=3),
    "sysctl": st.dictionaries(_some(("kernel.sem", "net/a")), _some(("0", "1"))),
    "seccomp": _some((None, {"flags": ["SECCOMP_FILTER_FLAG_LOG"]},
                      {"flags": ["SECCOMP_FILTER_FLAG_TSYNC"]})),
    "rootfsPropagation": _some(("", "shared", "slave", "private", "rslave")),
    "personality": _some((None, {"domain": "LINUX"}, {"domain": "LINUX32"})),
})  # fmt: skip


@st.composite
def _cases(draw: st.DrawFn) -> tuple[plan.Plan, tuple[bool, ...], Ending, tuple[str, ...]]:
    """A plan with circumstances; few values of each kind, so that keys of several meet."""
    made = launch.spec("x", userns=draw(_flags))
    made["process"] = draw(_process)
    made["linux"] |= draw(_linux)
    made["linux"]["namespaces"] = [
        one for one in made["linux"]["namespaces"] if one["type"] != "cgroup" or draw(_flags)
    ]
    made["root"]["readonly"] = draw(_flags)
    made["mounts"] = [one for one in made["mounts"] if draw(_flags)] + draw(
        st.lists(_mounts.filter(_is_possible) | _tmpfs, max_size=3)
    )
    if not any(one["destination"] == "/proc" for one in made["mounts"]):
        made["linux"]["sysctl"] = {}
    result = plan.plan(made)
    binds = sum(1 for step in result.steps if type(step).__name__ == "BindMount")
    directories = tuple(draw(st.lists(_flags, min_size=binds, max_size=binds)))
    shape = st.tuples(*[_some((-1, 0, 1, 2, 3, 50))] * 3)
    ending = Ending(
        None if result.leg.terminal else draw(shape),
        draw(_some((None, _FILTER))),
        draw(_some((None, 30))),
        draw(_some((0, 1, 0xFF, (1 << 64) - 1))),
        has_proc=setting_for(result, directories).has_proc,
    )
    return result, directories, ending, ("x",) * draw(_some((0, 1, 2)))


@given(_cases())
def test_what_is_kept_is_what_would_be_made(
    case: tuple[plan.Plan, tuple[bool, ...], Ending, tuple[str, ...]],
) -> None:
    """Blocks of all the examples before are kept while those of the next one are looked up."""
    made, directories, ending, entrances = case
    setting = setting_for(made, directories)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "block", _compared)
        try:
            child.first(made.unshare_flags, made.steps, setting, made.leg, ending, entrances)
        except RuntimeFailure as error:
            assert "the host has no node" in error.message


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_blocks", {})
    monkeypatch.setattr(kept, "_size", 0)


def _write(b: Builder, count: int) -> None:
    for _ in range(count):
        b.end()


@pytest.mark.usefixtures("nothing_kept")
def test_what_is_kept_has_a_limit_in_bytes() -> None:
    """A PATH of an image makes blocks of any size; the launcher's memory is not up to it."""
    many = kept._ROOM // kept._LARGE
    for number in range(3 * many):
        kept.block(("many", number), _write, kept._LARGE // SIZE)
        assert kept.count() <= many
    assert kept.count() > 0


@pytest.mark.usefixtures("nothing_kept")
def test_a_large_block_is_made_each_time() -> None:
    large = kept._LARGE // SIZE + 1
    first, second = (kept.block(("large",), _write, large) for _ in range(2))
    assert first is not second
    assert kept.count() == 0


@pytest.mark.usefixtures("nothing_kept")
def test_a_program_outlives_what_is_kept() -> None:
    """The limit is reached while a program waits: its blocks and texts stay where they are."""
    words = [f"a path of {number}" for number in range(3)]
    program = Program()
    for word in words:
        program.add(word, kept.block((word,), lambda b, word: b.call("chdir", word), word))
    addresses = [OPERATION.unpack(block.data)[_ARGUMENTS] for block in program._blocks]
    for number in range(kept._LIMIT + 1):
        kept.block(("filler", number), _write, 1)
    assert kept.count() <= kept._LIMIT
    gc.collect()
    assert [memory.text_at(address) for address in addresses] == words
