"""Names mean here what they mean to skopeo, which has Docker's own rules; by what it writes."""

import json
import tarfile
from pathlib import Path

import pytest

from knarr.errors import InvalidArgument
from knarr.images.reference import Reference
from tests.support.dockerregistry import skopeo
from tests.unit.images.helpers import docker_archive, layer, tar_of

pytestmark = [pytest.mark.peer, pytest.mark.slow]

LONG = "a" * 200
NAMES = f"""
busybox busybox:1 library/busybox docker.io/busybox docker.io/library/busybox
index.docker.io/busybox index.docker.io/library/busybox registry-1.docker.io/busybox docker.io/a/b
a/b a/b/c/d/e/f library/a/b localhost localhost:5000 localhost/a localhost/a:1 localhost:5000/a
localhost:5000/a/b:1 LOCALDOMAIN/a LOCALDOMAIN/library/a Docker/docker DOCKER/docker docker/Docker
docker.io/docker/Docker Foo/FarB Asdf.com/foo/bar test:5000/Uppercase/a Uppercase:tag
lowercase:Uppercase a/B test.com test.com:5000 test.com:tag test.com/repo:tag test:5000/repo
test_com test_com/foo foo_bar.com:8080 foo_bar.com:8080/app foo/foo_bar.com:8080 foo.com/foo_bar
192.168.1.1 192.168.1.1:80 192.168.1.1/repo 192.168.1.1:5000/repo:5050 192.168.0.1:8/debian
127.0.0.1:5000/library/a [::1]:5000/repo [2001:db8::1] [2001:db8::1]:5000 [2001:db8::1]/repo
[2001:db8::1]:5000/repo:tag [2001:db8:1:2:3:4:5:6]/repo:tag [fe80::1%eth0]:5000/repo
[fd00:1:2::3]75050/a fc00::1:5000/debian [2001:db8:3:4::192.0.2.33]:5000/a ab-.com/a ab.c-om/a
ab.-com/a ab.com-/a 0101.com/a -docker -docker/docker -docker.io/docker/docker docker/
docker///docker docker.io/docker///docker /a a/ a//b docker-/docker -docker-/docker ____/____
_docker/_docker docker_/docker_ do__cker/docker do__cker:8080/docker do..cker/docker
docker./docker .docker/docker dock___er/docker dock_.er/docker dock-.er/docker
docker---rules/docker a.b/c a.b/c.d/e a.b/c..d a.b/.c a.b/c__d/e a.b/__c/e
xn--n3h.com/a:xn--n3h.com b.gcr.io/test.example.com/my-app:test.example.com
registry.io/foo/project--id.module--name.ver---sion--name a^a aa/asdf$$^/aa asdf$$^/aa
a:invalid~tag a:-tag a:.tag a:_tag a:tag. a:{"t" * 128} a:{"t" * 129} {LONG}/b example.com/{LONG}
example.com/{"a" * 243} example.com/{"a" * 244} {"a" * 64} {"f" * 63} {"f" * 65} {"0" * 64}
https://a/b http://a/b:1 a:b:c a.b:http/c localhost:http/a a@b a.b:/c x.y:00080/z
""".split()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("names") / "image.tar"
    file.write_bytes(tar_of(docker_archive([layer("a")], ["app:1"])))
    return file


def of_skopeo(archive: Path, target: Path, name: str) -> str | None:
    """Return the full name as skopeo has it, None when it refuses the name."""
    try:
        skopeo("copy", f"docker-archive:{archive}", f"docker-archive:{target}:{name}")
    except AssertionError as error:
        assert "reference" in str(error) or "repository name" in str(error), error
        return None
    with tarfile.open(target) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        tags = json.loads(member.read())[0]["RepoTags"]
    return str(Reference.parse(tags[0]))


def ours(name: str) -> str | None:
    try:
        return str(Reference.parse(name))
    except InvalidArgument:
        return None


def test_every_name(archive: Path, tmp_path: Path) -> None:
    # Docker has since learnt addresses in brackets, and hosts that are known by their upper case.
    newer = [name for name in NAMES if name[0] == "[" or not name.partition("/")[0].islower()]
    different = {}
    for number, name in enumerate(NAMES):
        theirs = of_skopeo(archive, tmp_path / f"{number}.tar", name)
        if theirs != ours(name) and not (theirs is None and name in newer):
            different[name] = (theirs, ours(name))
    assert different == {}
