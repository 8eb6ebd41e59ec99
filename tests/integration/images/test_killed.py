"""A load or a bootstrap that is killed half way leaves nothing that a sweep does not take away."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.integration.images.conftest import Place
from tests.unit.images.helpers import docker_archive, layer, tar_of

SCRIPT = """
import sys
from pathlib import Path
from tests.integration.images.conftest import Place
def report(event):
    print(event.action, flush=True)
Place(Path(sys.argv[1])).images.load(sys.stdin.buffer, progress=report)
"""


def test_killed_while_loading(tmp_path: Path) -> None:
    big = tar_of({"big": os.urandom(8 * 1024 * 1024)})
    archive = tar_of(docker_archive([layer("a"), big], ["app"]))
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'src'}"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "place")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(archive[: 6 * 1024 * 1024])
    process.stdin.flush()
    assert process.stdout.readline() == b"Loading\n"  # the second layer is on its way
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()

    place = Place(tmp_path / "place")
    assert place.images.list() == []
    assert place.blobs(), "the first layer was stored before the kill"
    place.images.sweep()
    assert place.blobs() == set()
    assert os.listdir(f"{place.store.root}/ingest") == []
    place.images.load(_file(tmp_path, archive))
    assert place.images.get("app").tags == ("app:latest",)


BOOTSTRAP = """
import sys
from pathlib import Path
from knarr.images.bootstrap import debian
from tests.integration.images.conftest import Place
command = [*debian._held(), "sh", "-c", sys.argv[2], "sh", sys.argv[3]]
debian.plan = lambda *_: debian.Plan(command, ("sid",), ("http://x.example/debian", "sid"), ())
Place(Path(sys.argv[1])).images.bootstrap("debian:sid")
"""
# A tool that has made files and a mount, tells where, and would go on for long.
TOOL = """
set -e
mkdir "$TMPDIR/root"
mount -t tmpfs tool "$TMPDIR/root"
touch "$TMPDIR/file"
exec 3>"$1"
echo "$TMPDIR" >&3
sleep 1000
"""


def test_killed_while_bootstrapping(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'src'}", "SOURCE_DATE_EPOCH": "0"}
    told = tmp_path / "told"
    os.mkfifo(told)
    process = subprocess.Popen(
        [sys.executable, "-c", BOOTSTRAP, str(tmp_path / "place"), TOOL, str(told)],
        env=environment,
    )
    with told.open() as words:
        workroom = Path(words.readline().strip())
        assert (workroom / "file").exists()
        place = Place(tmp_path / "place")
        place.images.sweep()
        assert (workroom / "file").exists(), "somebody works there"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert words.read() == "", "the end comes when all that the tool had started is gone"
    assert str(workroom) not in Path("/proc/self/mountinfo").read_text()
    place.images.sweep()
    assert not workroom.exists()
    for folder in ("bootstrap", "ingest"):
        assert os.listdir(f"{place.store.root}/{folder}") == []
    assert place.blobs() == set()


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "archive.tar"
    path.write_bytes(data)
    return path
