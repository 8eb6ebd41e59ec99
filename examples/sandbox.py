"""Run a program one does not trust: files in, limits, output and files out."""

from __future__ import annotations

import knarr

PROGRAM = """
echo "working on $(wc -l </job/numbers) numbers"
sort -n /job/numbers >/job/sorted
echo "and one line of complaint" >&2
"""

with knarr.Sandbox("busybox", memory="64m", cpus=0.5, network="none") as box:
    box.files.mkdir("/job")
    box.files.write("/job/numbers", "3\n1\n2\n")
    result = box.run("sh", "-c", PROGRAM, timeout=10)
    print(result.exit_code, result.stdout.decode(), result.stderr.decode())
    print(box.files.read("/job/sorted").decode())

    # whoever runs too long is killed with all its children
    endless = box.run("sh", "-c", "while :; do :; done", timeout=0.5)
    print("timed out:", endless.timed_out)
