"""A load that is killed half way leaves nothing that a sweep does not take away."""

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


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "archive.tar"
    path.write_bytes(data)
    return path
