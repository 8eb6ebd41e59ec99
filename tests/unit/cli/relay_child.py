"""Run by test_stream: relays descriptor 3 (the supervisor's side is the test) and reports the end.

argv: keyword=value pairs of stream.Streams. Prints nothing; the exit code is the container's,
250 after the detach keys, 251 when the connection ended without a status, 128+n for a signal.
"""

from __future__ import annotations

import os
import socket
import sys

from knarr.cli import stream
from knarr.cli.caller import Caller, Interrupted
from knarr.engine.attach import Attachment


def main(words: list[str]) -> int:
    options = dict(word.split("=") for word in words)
    keys = options.pop("detach_keys", None)
    streams = stream.Streams(
        **{name: value == "1" for name, value in options.items()},
        detach_keys=None if keys is None else bytes.fromhex(keys),
    )
    caller = Caller()
    caller.prepare_signals()
    attachment = Attachment(socket.socket(fileno=3), "c" * 64)
    try:
        status = stream.relay(attachment, streams, caller)
    except stream.Detached:
        return 250
    except Interrupted as asked:
        return 128 + asked.number
    return 251 if status is None else status.exit_code


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
