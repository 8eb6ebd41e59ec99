"""What ``make demo`` shows of the library."""

from __future__ import annotations

import knarr

with knarr.Sandbox("debian:bookworm", memory="256m", network="none") as box:
    box.files.write("/tmp/words", b"one\ntwo\nthree\n")
    result = box.run("sh", "-c", "sort /tmp/words; echo oops >&2; exit 3", timeout=5)
    print("stdout", result.stdout, "stderr", result.stderr, "exit code", result.exit_code)
    print("processor time", result.usage.cpu_total, "ns")
    print("too slow?", box.run("sleep", "60", timeout=0.5).timed_out)
