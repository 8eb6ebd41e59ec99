"""One of the fleet's processes: opens sandboxes, holds them all, uses each, closes them.

    python -m benchmarks.fleet_worker COUNT

The world comes in the environment. It answers on stdout, one line each: "up",
then after a line on stdin "started N FAILED", after another "used N FAILED",
and ends after a third.
"""

from __future__ import annotations

import sys

import knarr


def main() -> None:
    """Follow the lines on stdin; failures are counted and their texts go to stderr."""
    count = int(sys.argv[1])
    boxes: list[knarr.Sandbox] = []
    with knarr.Engine() as engine:
        print("up", flush=True)
        sys.stdin.readline()
        failed = 0
        for _ in range(count):
            try:
                boxes.append(knarr.Sandbox("busybox", network="none", engine=engine))
            except knarr.KnarrError as error:
                failed += 1
                print(error, file=sys.stderr, flush=True)
        print("started", len(boxes), failed, flush=True)
        sys.stdin.readline()
        failed = 0
        for box in boxes:
            result = box.run("echo", "here")
            failed += result.stdout != b"here\n"
        print("used", len(boxes) - failed, failed, flush=True)
        sys.stdin.readline()
        for box in boxes:
            box.close()


if __name__ == "__main__":
    main()
