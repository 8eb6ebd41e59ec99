"""``image diff`` by the real command, beside what ``diff`` says of the container."""

import json
import subprocess

from tests.conftest import Command

SCRIPT = """
echo more >>/etc/passwd; rm /etc/group; mkdir -p /new/deep; echo x >/new/deep/file
chmod 700 /home 2>/dev/null || chmod 700 /tmp; ln -s /etc/passwd /link; ln /new/deep/file /hard
rm -r /root; mkdir /root; echo again >/root/file
"""


def said(done: subprocess.CompletedProcess[bytes], code: int = 0) -> str:
    assert done.returncode == code, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def test_what_a_container_changed_is_what_its_image_has(knarr: Command) -> None:
    said(knarr("run", "--name", "maker", "busybox", "sh", "-c", SCRIPT))
    changed = said(knarr("diff", "maker")).splitlines()
    said(knarr("commit", "-c", "ENV ADDED=1", "-c", 'CMD ["true"]', "maker", "made:1"))
    said(knarr("rm", "maker"))
    found = json.loads(said(knarr("image", "diff", "--format", "json", "busybox", "made:1")))
    lines = [f"{each['Change']} {each['Path']}" for each in found["Files"]]
    # A directory in which something changed has another time; nothing else of it is otherwise.
    assert set(lines) <= set(changed)
    assert all(line.startswith("C ") for line in set(changed) - set(lines))
    assert {"D /etc/group", "A /new", "A /new/deep/file", "A /link", "A /hard"} <= set(lines)
    passwd = next(each for each in found["Files"] if each["Path"] == "/etc/passwd")
    assert passwd["What"] == ["content"]
    assert passwd["SizeAfter"] == passwd["SizeBefore"] + 5
    settings = {each["Setting"]: (each["Before"], each["After"]) for each in found["Config"]}
    assert settings["Env ADDED"] == (None, "1")
    assert found["Layers"] == {"Shared": 1, "Before": 1, "After": 2}

    table = said(knarr("image", "diff", "busybox", "made:1")).splitlines()
    assert table[0].split() == ["CHANGE", "SIZE", "PATH"]
    assert any(line.split() == ["C", "+5B", "/etc/passwd", "(content)"] for line in table)
    assert any(line.split() == ["Env", "ADDED", "-", "1"] for line in table)
    assert table[-1].endswith("; layers: 1 shared, 1 and 2 in all")
    paths = said(
        knarr("image", "diff", "--format", "{{range .Files}}{{.Path}} {{end}}", "busybox", "made:1")
    )
    assert "/new/deep/file" in paths.split()
    assert said(knarr("image", "diff", "made:1", "made:1")).startswith("0 added, 0 changed")
