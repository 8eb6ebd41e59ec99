"""Noticing that somebody has deleted the firewall's rules, as ``nft flush ruleset`` does."""

import errno
import sys

from knarr.kernel import nfnotices
from knarr.kernel.nftables import INET, Nftables
from knarr.runtime import detached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Vigil:
    """A watch of the resolver's (``resolver/watch.py``) over a table.

    program, words: what ``runtime.detached`` starts when something of the table was deleted, be
    it by ourselves: it has to look whether there is anything to do. log: where its errors go.
    returned: called when the table was made.
    Raises OSError where there is no nf_tables.
    """

    __slots__ = ("_link", "_log", "_program", "_table", "_words", "returned")

    def __init__(self, table: str, program: str, words: "Sequence[str]", log: str) -> None:
        self._table, self._program, self._words, self._log = table, program, list(words), log
        self.returned: Callable[[], None] = lambda: None
        self._link = Nftables(watch=True)
        self._link.sock.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._link.sock.fileno()

    def readable(self, _events: int) -> None:
        """Take what has come, and have the table looked at when something of it is gone."""
        lost = made = False
        while True:
            try:
                told = self._link.receive()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # more came than there was room for
                    self._complain(error)
                    break
                lost = made = True
                continue
            lost = lost or any(
                nfnotices.loses(kind, body, INET, self._table) for kind, body in told
            )
            made = made or any(
                nfnotices.begins(kind, body, INET, self._table) for kind, body in told
            )
        if made:
            self.returned()
        if lost:
            self._restore()

    def look(self) -> None:
        """Have the table looked at if it is not there: it may have gone before the watch began."""
        with Nftables() as link:
            there = link.has_table(INET, self._table)
        if not there:
            self._restore()

    def _restore(self) -> None:
        try:
            detached.start(self._program, self._words, self._log)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        print(f"knarr resolver: table inet {self._table}: {error}", file=sys.stderr)

    def close(self) -> None:
        """Close the descriptor."""
        self._link.close()


def over(words: "Sequence[str]", log: str) -> "tuple[Vigil, ...]":
    """Return the watch over a table; words: its name, the program and the program's words.

    None without words, and none, which is told to standard error, where it cannot be had.
    """
    if not words:
        return ()
    table, program, *rest = words
    try:
        vigil = Vigil(table, program, rest, log)
        vigil.look()
        return (vigil,)
    except OSError as error:
        print(f"knarr resolver: table inet {table}: {error}", file=sys.stderr)
        return ()
