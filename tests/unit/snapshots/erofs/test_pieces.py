"""A tar in pieces: nothing of a file is lost, and none is longer than it may be."""

from __future__ import annotations

import stat

from hypothesis import given
from hypothesis import strategies as st

from knarr.snapshots.erofs import pieces
from knarr.snapshots.erofs.node import Node

UNIT = pieces.unit(0)


def tree(sizes: list[int]) -> tuple[Node, int]:
    """Return a tree with files of these sizes, as a tar has them, and the tar's size."""
    root, position = Node(stat.S_IFDIR), 0
    children = root.children
    assert children is not None
    for number, size in enumerate(sizes):
        position += 512
        node = Node(stat.S_IFREG)
        if size:
            node.size, node.device, node.block = size, pieces.TAR, position // 512
        children[b"%d" % number] = node
        position += size + -size % 512
    return root, position + 1024


SIZES = st.lists(
    st.one_of(
        st.integers(0, 2000),
        st.integers(0, 3 * UNIT),
        st.sampled_from([UNIT - 512, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT]),
    ),
    max_size=40,
)


@given(SIZES)
def test_every_byte_of_every_file_is_where_its_node_says(sizes: list[int]) -> None:
    root, size = tree(sizes)
    before = {name: node.block * 512 for name, node in (root.children or {}).items() if node.device}
    starts = pieces.cut(root, size)
    ends = [*starts[1:], size]
    assert starts[0] == 0
    assert all(0 < end - start <= UNIT for start, end in zip(starts, ends, strict=True))
    assert all(start % 512 == 0 for start in starts)
    assert len(starts) <= 2 * size // UNIT + 2
    pieces.place(root, starts, UNIT)
    for name, first in before.items():
        node = (root.children or {})[name]
        for offset in range(0, node.size, node.chunk or node.size):
            number = node.device - 1 + (offset // node.chunk if node.chunk else 0)
            block = 0 if offset else node.block
            assert starts[number] + block * 512 == first + offset
            length = min(node.chunk or node.size, node.size - offset)
            assert starts[number] + block * 512 + length <= ends[number]


def test_hard_links_are_moved_once() -> None:
    root, size = tree([10, 2 * UNIT])
    children = root.children
    assert children is not None
    children[b"link"] = children[b"1"]
    starts = pieces.cut(root, size)
    pieces.place(root, starts, UNIT)
    node = children[b"link"]
    assert starts[node.device - 1] + node.block * 512 == 512 + 512 + 512


def test_large_tars_have_larger_pieces() -> None:
    assert pieces.unit(10 << 30) == 8 << 20
    assert (100 << 30) / pieces.unit(100 << 30) <= 2048
