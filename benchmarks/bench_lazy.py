"""How long until an image that is not here says its first word, and what came for that?"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import busybox
from tests.support.chunked import Chunked
from tests.support.fakeimages import put_image, put_tabled
from tests.support.fakeregistry import FakeRegistry, Request, serving
from tests.support.stargz import Stargz

from .bench_layers import debian_layer
from .harness import BUILD, Report, Samples, run_folder

# Bytes a second and seconds before each answer: a registry on the other side of a good line.
RATE, DELAY = 25_000_000, 0.01
_STEP = 64 * 1024
MODEL = 200 * 1024 * 1024


class Line:
    """What a registry sends, at most so fast for all who ask; counts it."""

    def __init__(self, fake: FakeRegistry) -> None:
        self._fake = fake
        self._lock = threading.Lock()
        self._free = time.monotonic()
        self.sent = 0
        fake.hooks.append(self._hook)

    def _hook(self, request: Request) -> bool:
        time.sleep(DELAY)
        data = self._fake.blobs.get(request.path.rpartition("/")[2])
        if data is None or len(data) < _STEP or request.command != "GET":
            return False
        start, end, status = 0, len(data), 200
        headers = {"Accept-Ranges": "bytes", "Content-Length": ""}
        wanted = (request.headers.get("Range") or "").removeprefix("bytes=").partition("-")
        if wanted[1]:
            start, end, status = int(wanted[0]), int(wanted[2] or end - 1) + 1, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        headers["Content-Length"] = str(end - start)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        for at in range(start, end, _STEP):
            piece = data[at : min(at + _STEP, end)]
            with self._lock:
                self._free = max(self._free, time.monotonic()) + len(piece) / RATE
                self.sent += len(piece)
                wait = self._free - time.monotonic()
            time.sleep(max(0.0, wait))
            request.wfile.write(piece)
        return True


def model_layer() -> bytes:
    """Return a plain tar of busybox and one large file."""
    buffer = io.BytesIO(busybox.layer())
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        member = tarfile.TarInfo("model")
        member.size = MODEL
        tar.addfile(member, io.BytesIO(os.urandom(MODEL)))
    return buffer.getvalue()


@contextmanager
def _place(number: str) -> Iterator[dict[str, str]]:
    folder, run = BUILD / f"lazy-{number}", run_folder() / f"knarr-bench-lazy-{number}"
    environment = {**os.environ, "KNARR_ROOT": str(folder), "KNARR_RUN_ROOT": str(run),
                   "KNARR_SERVER": "off", "KNARR_LAUNCHER_IDLE": "1"}  # fmt: skip
    try:
        yield environment
    finally:
        words = [sys.executable, "-m", "knarr"]
        for rest in (["system", "prune", "-af"], ["recover"]):
            subprocess.run([*words, *rest], env=environment, capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(run, ignore_errors=True)


def first_word(line: Line, name: str, how: str, command: list[str]) -> tuple[float, float, float]:
    """Run a command of an image that is not here; return seconds and MiB until its first word.

    And the seconds until all of the image is here.
    """
    with _place(str(os.getpid())) as environment:
        words = [sys.executable, "-m", "knarr", "run", "--rm", "-q", "--pull", how, name, *command]
        line.sent = 0
        started = time.perf_counter()
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process:
            if not process.stdout.read(1):
                raise RuntimeError(f"{' '.join(words)} said nothing")
            seconds, sent = time.perf_counter() - started, line.sent / 2**20
        while os.path.exists(f"{environment['KNARR_ROOT']}/snapshots/coming"):
            time.sleep(0.05)
        return seconds, sent, time.perf_counter() - started


def run(rounds: int = 3) -> Report:
    """Let both ways take turns, with a large file of which a part is read, and with a Debian."""
    report = Report("lazy", f"First word of an absent image, over {RATE / 1e6:.0f} MB/s, 10 ms")
    debian = debian_layer().read_bytes()
    perl = ["perl", "-e", "print 42"]
    commands = {
        "large file": ["sh", "-c", "head -c 4000000 /model | wc -c"],
        "Debian": perl,
        "Debian, eStargz": perl,
        "Debian, zstd:chunked": perl,
    }
    taken: dict[str, list[float]] = {}
    with serving() as fake:
        line = Line(fake)
        put_image(fake, "0", [model_layer()], plain=True)
        put_image(fake, "1", [debian], plain=True)
        put_tabled(fake, "2", [Stargz(debian, chunk=4 * 1024 * 1024)])
        put_tabled(fake, "3", [Chunked(debian, chunk=64 * 1024)])  # as long as theirs, on average
        for _ in range(rounds):
            for tag, (what, command) in enumerate(commands.items()):
                for how in ("missing", "lazy"):
                    told = first_word(line, f"{fake.host}/app:{tag}", how, command)
                    kinds = ("first word", "MiB until then", "all here")
                    for kind, value in zip(kinds, told, strict=True):
                        taken.setdefault(f"{what}, {how}: {kind}", []).append(value)
    for name, values in taken.items():
        samples = Samples(tuple(values))
        if name.endswith("MiB until then"):
            report.figures.append((name, samples.median, "MiB"))
        else:
            report.samples[name] = samples
    came = {name: value for name, value, _ in report.figures}
    for what in ("large file", "Debian, eStargz", "Debian, zstd:chunked"):
        part = came[f"{what}, lazy: MiB until then"] / came[f"{what}, missing: MiB until then"]
        report.goal(f"bytes until the first word of {what}, lazy", part, 0.1)
    ratio = report.ratio("large file, lazy: first word", "large file, missing: first word")
    report.goal("first word of large file, lazy", ratio, 0.5)
    report.notes.append("large file: 200 MiB, of which 4 MB are read")
    return report
