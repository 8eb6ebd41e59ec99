"""What is said to some hundred command lines, beside recorded facts about Docker's command.

The facts stand in client.toml and engine.toml, each with its source; where knarr says something
else on purpose the reason stands beside it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.installations import Installation

HERE = Path(__file__).parent
RELEASE = "28.2"
# Who speaks: there is no daemon, and only `run` shares its stderr with a container.
_SPEAKERS = re.compile(r"^(docker: |knarr: |Error: |Error response from daemon: )+")
Case = dict[str, Any]


def cases(name: str) -> list[Case]:
    """Return the cases of a file."""
    found: list[Case] = tomllib.loads((HERE / f"{name}.toml").read_text())["case"]
    return found


def first_line(out: bytes, err: bytes) -> str:
    """Return the first line of stderr, of stdout where that is empty."""
    return (err or out).decode(errors="replace").strip().partition("\n")[0]


def expected(case: Case, ids: dict[str, str]) -> re.Pattern[str]:
    """Return what the first line has to be, without who speaks."""
    text = case.get("knarr") or case["docker"].replace("docker", "knarr")
    text = _SPEAKERS.sub("", text).strip()
    for name, identity in ids.items():
        text = text.replace(f"<{name}>", identity)
    return re.compile(".*".join(re.escape(part) for part in text.split("…")))


def check(box: Installation, case: Case, ids: dict[str, str]) -> list[str]:
    """Run the command line of a case; return what is not as it says."""
    code, out, err = box.run(*case["argv"])
    said = f"knarr {' '.join(case['argv'])}: {code}, {out!r}, {err!r}"
    if code != case.get("knarr_code", case["code"]):
        return [f"{said}: expected {case.get('knarr_code', case['code'])}"]
    problems = []
    if "out" in case and not re.fullmatch(case["out"], out.decode()):
        problems.append(f"{said}: expected {case['out']!r}")
    if "docker" in case:
        pattern = expected(case, ids)
        if not pattern.fullmatch(_SPEAKERS.sub("", first_line(out, err)).strip()):
            problems.append(f"{said}: expected {pattern.pattern}")
    elif err:
        problems.append(f"{said}: expected no error")
    return problems


@pytest.fixture
def four(box: Installation) -> tuple[Installation, dict[str, str]]:
    """The command and the ids of the containers that the cases name."""
    made = {}
    for name, words in (
        ("up", ("run", "-d", "--name", "up", "busybox", "sleep", "100000")),
        ("down", ("run", "-d", "--name", "down", "busybox", "sh", "-c", "echo said; exit 3")),
        ("new", ("create", "--name", "new", "busybox", "true")),
        ("still", ("run", "-d", "--name", "still", "busybox", "sleep", "100000")),
    ):
        code, out, err = box.run(*words)
        assert code == 0, err
        made[name] = out.decode().strip()
    assert box.run("wait", "down")[1] == b"3\n"
    assert box.run("pause", "still")[0] == 0
    return box, made


@pytest.mark.parametrize("name", ["client", "engine"])
def test_what_docker_says(name: str, four: tuple[Installation, dict[str, str]]) -> None:
    box, ids = four
    problems = [text for case in cases(name) for text in check(box, case, ids)]
    assert not problems, "\n".join(problems)


def test_the_tables_say_why() -> None:
    every = [*cases("client"), *cases("engine")]
    assert len(every) >= 200
    lines = [tuple(case["argv"]) for case in every]
    assert len(set(lines)) == len(lines)
    for case in every:
        assert ("knarr" in case or "knarr_code" in case) == ("why" in case), case
        assert "docker" in case or "out" in case, case
    assert all(case.get("source") for case in cases("engine"))


@pytest.mark.peer
def test_docker_still_says_so(tmp_path: Path) -> None:
    """The recorded facts are those of the command that is installed, if it is that release."""
    program = shutil.which("docker")
    if program is None:
        pytest.skip("needs docker")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if f"version {RELEASE}." not in version.stdout:
        pytest.skip(f"records are of {RELEASE}, this is {version.stdout.strip()}")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path),
        "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock",
    }  # fmt: skip
    for case in cases("client"):
        done = subprocess.run(
            [program, *case["argv"]], env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        found = (done.returncode, first_line(done.stdout, done.stderr).strip())
        assert found == (case["code"], case["docker"].strip()), case
