"""system df, system prune, and the spellings of the group."""

from __future__ import annotations

import json

from tests.support.installations import Installation

FIVE = ("sh", "-c", "head -c 5000 /dev/zero > /five")


def test_df(box: Installation) -> None:
    box.run("run", "--name", "one", "-l", "k=v", "busybox", *FIVE)
    table = [line.split() for line in box.run("system", "df")[1].decode().splitlines()]
    assert table[0] == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert table[1][:3] == ["Images", "1", "1"]
    assert table[1][4:] == ["0B", "(0%)"]
    assert table[2] == ["Containers", "1", "0", "5kB", "5kB", "(100%)"]
    assert table[3] == ["Local", "Volumes", "0", "0", "0B", "0B"]
    assert table[4] == ["Build", "Cache", "0", "0", "0B", "0B"]
    lines = box.run("system", "df", "--format", "json")[1].splitlines()
    assert json.loads(lines[1]) == {
        "Active": "0", "Reclaimable": "5kB (100%)", "Size": "5kB", "TotalCount": "1",
        "Type": "Containers",
    }  # fmt: skip
    shown = box.run("system", "df", "--format", "{{.Type}}: {{.TotalCount}}")[1]
    assert shown == b"Images: 1\nContainers: 1\nLocal Volumes: 0\nBuild Cache: 0\n"
    box.run("rm", "one")


def test_df_of_each(box: Installation) -> None:
    box.run("run", "--name", "one", "-l", "k=v", "busybox", *FIVE)
    box.run("commit", "one", "child")
    parts = box.run("system", "df", "-v")[1].decode().split("\n\n")
    assert parts[0] == "Images space usage:"
    heading, *rows = parts[1].splitlines()
    assert " ".join(heading.split()) == (
        "REPOSITORY TAG IMAGE ID CREATED SIZE SHARED SIZE UNIQUE SIZE CONTAINERS"
    )
    assert {row.split()[0]: row.split()[-1] for row in rows} == {"busybox": "1", "child": "0"}
    assert parts[2] == "Containers space usage:"
    assert " ".join(parts[3].splitlines()[0].split()) == (
        "CONTAINER ID IMAGE COMMAND LOCAL VOLUMES SIZE CREATED STATUS NAMES"
    )
    assert parts[3].splitlines()[1].split()[-1] == "one"
    assert parts[4:6] == ["Local Volumes space usage:", "VOLUME NAME   LINKS     SIZE"]
    assert parts[6] == "Build cache usage: 0B"
    assert parts[7].split()[:4] == ["CACHE", "ID", "CACHE", "TYPE"]
    found = json.loads(box.run("system", "df", "-v", "--format", "json")[1])
    again = json.loads(box.run("system", "df", "-v", "--format", "{{json .}}")[1])
    for each in (found, again):
        for row in (*each["Containers"], *each["Images"]):  # time goes on in between
            row.pop("RunningFor", None)
            row.pop("CreatedSince", None)
            row.pop("Status", None)
    assert again == found
    assert [each["Names"] for each in found["Containers"]] == ["one"]
    assert (found["Volumes"], found["BuildCache"]) == ([], [])
    shown = box.run("system", "df", "-v", "--format",
                    '{{range .Containers}}{{.Names}} {{.Label "k"}} {{.Size}}{{end}}')  # fmt: skip
    assert shown == (0, b"one v 5kB\n", b"")
    box.run("rm", "one")


def test_prune_asks_and_tells(box: Installation) -> None:
    one = box.run("create", "--name", "one", "busybox")[1].decode().strip()
    code, asked, err = box.run("system", "prune", input=b"n\n")
    assert (code, err) == (0, b"")
    assert asked.decode() == (
        "WARNING! This will remove:\n"
        "  - all stopped containers\n"
        "  - all networks not used by at least one container\n"
        "  - all dangling images\n"
        "\n"
        "Are you sure you want to continue? [y/N] "
    )
    assert box.run("ps", "-aq", "--no-trunc")[1].decode().strip() == one
    out = box.run("system", "prune", "-a", "--volumes", "--filter", "label!=x", "--filter",
                  "label=tier", input=b"")[1].decode()  # fmt: skip
    assert "  - all images without at least one container associated to them\n\n" in out
    assert (
        "  Items to be pruned will be filtered with:\n  - label!=x\n  - label=tier\n\nAre you"
        in out
    )
    assert box.run("ps", "-aq")[1] != b""
    out = box.run("system", "prune", input=b"y\n")[1].decode()
    deleted = f"[y/N] Deleted Containers:\n{one}\n\nTotal reclaimed space: 0B\n"
    assert out.endswith(deleted)
    out = box.run("system", "prune", "-af")[1].decode()
    assert out.startswith("Deleted Images:\nuntagged: busybox:latest\ndeleted: sha256:")
    assert out.splitlines()[-1].startswith("Total reclaimed space: ")
    assert "0B" not in out.splitlines()[-1]
    assert box.run("system", "df", "--format", "{{.Size}}")[1] == b"0B\n" * 4


def test_prune_refuses_what_it_cannot_filter_by(box: Installation) -> None:
    box.run("create", "--name", "one", "busybox")
    code, _, err = box.run("system", "prune", "-f", "--filter", "name=one")
    assert (code, err) == (1, b"Error: invalid filter 'name'\n")
    code, _, err = box.run("system", "prune", "--volumes", "--filter", "until=1h")
    assert (code, err) == (1, b'Error: The "until" filter is not supported with "--volumes"\n')
    assert box.run("ps", "-aq")[1] != b""
    box.run("rm", "one")


def test_both_spellings(box: Installation) -> None:
    for verb in ("info", "events"):
        words = ["--until", "1970-01-01T00:00:00Z"] if verb == "events" else []
        assert box.run("system", verb, *words)[0] == box.run(verb, *words)[0] == 0
