"""What a shell does next: random, with a bent towards its share of containers that run."""

from __future__ import annotations

import io
import random
import tarfile
from typing import TYPE_CHECKING

from tests.stress.model import (
    ABSENT,
    BRIEF,
    CREATED,
    KINDS,
    POLITE,
    RUNNING,
    SLEEPER,
    Box,
    Disagreement,
    Kind,
    exited,
)
from tests.stress.orders import Order

if TYPE_CHECKING:
    from tests.stress.shell import Shell

_MIB = 1 << 20
# How often what is done to a container of one's own, among a hundred and some.
WEIGHTS = {
    "start": 16, "stop": 7, "kill": 7, "term": 4, "crash": 4, "restart": 6, "pause": 7,
    "unpause": 9, "rename": 4, "rm": 5, "rm_force": 5, "exec": 12, "exec_detached": 3, "cp": 6,
    "read": 6, "logs": 6, "update": 5, "wait": 3, "commit": 1, "clone": 3, "diff": 3, "top": 3,
    "inspect": 8, "start_attached": 3,
}  # fmt: skip
_SHARED = (
    "start", "stop", "kill", "term", "restart", "pause", "unpause", "rename", "rm", "rm_force",
    "exec", "exec_detached", "cp", "logs", "update", "diff", "top", "inspect", "run", "create",
)  # fmt: skip
_ENDING = ("stop", "kill", "rm_force")


def kind_of(source: random.Random) -> tuple[Kind, str]:
    """Return a program for a new container, and its restart policy."""
    kind = KINDS[source.choice((SLEEPER.name, POLITE.name, POLITE.name, BRIEF.name))]
    if kind is POLITE and source.random() < 0.3:
        return kind, "unless-stopped"
    if kind is BRIEF and source.random() < 0.2:
        return kind, "on-failure:2"
    return kind, ""


def archive(name: str, text: str) -> bytes:
    """Return a tar with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def for_shared(source: random.Random, names: list[str]) -> tuple[str, str, str]:
    """Return (name, verb, value) of an order to a container that all shells use."""
    verb = source.choice(_SHARED)
    value = {"stop": "0", "restart": "0", "rename": source.choice(names), "exec": "shared",
             "update": str(source.randrange(64, 128) * _MIB)}.get(verb, "")  # fmt: skip
    return source.choice(names), verb, value


def step(shell: Shell, containers: int, running: int, shared: list[str]) -> None:
    """Do one thing. containers, running: how many this shell is to have about."""
    source = shell.random
    shell.forget_the_absent()
    dice = source.random()
    if shared and dice < 0.12:
        shell.disturb(shared)
    elif dice < 0.16:
        shell.check_list()
    elif dice < 0.165:
        prune(shell)
    elif dice < 0.18:
        run_to_the_end(shell)
    elif len(shell.boxes) < containers and source.random() < 0.6:
        crowded = shell.living() >= running
        shell.create("create" if crowded or source.random() < 0.5 else "run")
    elif shell.boxes:
        one_of_ours(shell, crowded=shell.living() > running)


def one_of_ours(shell: Shell, *, crowded: bool) -> None:
    """Give a random order to a random container of this shell."""
    source = shell.random
    box = source.choice(shell.boxes)
    verb = source.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    if crowded and source.random() < 0.5:
        living = [each for each in shell.boxes if each.living]
        box, verb = source.choice(living), source.choice(_ENDING)
    if not crowded and verb in _ENDING and source.random() < 0.5:
        verb = "start"
    act(shell, box, verb)


def act(shell: Shell, box: Box, verb: str) -> None:
    """Do it, with what the verb needs, and check what it says."""
    source = shell.random
    if verb == "clone":
        shell.clone(box)
    elif verb == "inspect":
        shell.look(box)
    elif verb in ("stop", "restart"):
        counted(shell, box, verb, source.choice(("0", "0", "1")))
    elif verb in ("start", "start_attached"):
        start(shell, box, verb)
    elif verb == "rename":
        rename(shell, box)
    elif verb in ("exec", "cp"):
        write(shell, box, verb)
    elif verb == "read":
        read(shell, box)
    elif verb == "logs":
        logs(shell, box)
    elif verb == "update":
        update(shell, box)
    elif verb == "commit":
        commit(shell, box)
    elif verb == "wait":
        wait(shell, box)
    else:
        shell.do(box, verb)
        if verb == "crash" and box.policy:
            box.starts = None


def start(shell: Shell, box: Box, verb: str) -> None:
    """Start it; attached only where it is sure to start and to end."""
    certain = all(state.status in ("created", "exited") for state in box.may)
    if verb == "start" or box.kind is not BRIEF or not certain or box.policy:
        counted(shell, box, "start")
        return
    result = shell.give(shell.order(box, "start_attached"))
    if shell.interrupted(result) or (shell.deaths and result.code != 3):
        box.apply_unknown("start")
        box.starts = None
        shell.look(box)
        return
    box.apply("start", succeeded=True)
    if box.starts is not None:
        box.starts += 1
    text = result.out
    if result.code != 3 or text != b"up\n" or not box.observe("exited", 3):
        raise Disagreement(f"start -a {box.name}: {result}")


def counted(shell: Shell, box: Box, verb: str, value: str = "") -> None:
    """Start or restart it, or stop it, and count how often it was started where that is sure."""
    ran = any(state.status in ("running", "restarting") for state in box.may)
    result = shell.do(box, verb, value)
    if verb == "stop":
        return
    if box.policy or (verb == "start" and ran):
        box.starts = None
    elif result is not None and result.code == 0 and box.starts is not None:
        box.starts += 1


def rename(shell: Shell, box: Box) -> None:
    """Give it another name of this shell's."""
    shell.made += 1
    new = f"s{shell.number}-{shell.made}"
    result = shell.do(box, "rename", new)
    if result is not None and result.code == 0:
        box.name, box.names = new, {new}


def write(shell: Shell, box: Box, verb: str) -> None:
    """Write a file in it, by a command or from outside."""
    text = f"{shell.random.randrange(10**9)}"
    name = {"exec": "mark", "cp": "copied"}[verb]
    result = shell.do(box, verb, text, archive(name, text) if verb == "cp" else b"")
    if result is None:
        return
    if result.code == 0:
        box.files[name] = {text}
    elif box.living:
        box.files.setdefault(name, {""}).add(text)  # it may have ended under the command


def read(shell: Shell, box: Box) -> None:
    """Read a file that it should have."""
    sure = [name for name, texts in box.files.items() if "" not in texts]
    if not sure:
        shell.do(box, "diff")
        return
    name = shell.random.choice(sorted(sure))
    result = shell.do(box, "read", name)
    if result is None or result.code != 0:
        return
    with tarfile.open(fileobj=io.BytesIO(result.out)) as tar:
        file = tar.extractfile(name)
        text = file.read().decode().strip() if file else ""
    # A shell that is killed may have emptied the file already.
    if text not in box.files[name] and not (len(box.files[name]) > 1 and not text):
        raise Disagreement(f"{box.name}: {name} has {text!r}, not of {box.files[name]}")


def logs(shell: Shell, box: Box) -> None:
    """Read its log: a line for each start of which it has had the time to say so."""
    result = shell.do(box, "logs")
    if result is None or result.code != 0 or box.kind is SLEEPER:
        return
    said = result.out.split()
    over = all(state.status == "exited" for state in box.may)
    ups = len(said)
    if set(said) - {b"up"} or (box.starts is not None and ups > box.starts):
        raise Disagreement(f"{box.name}: logs {said}, started {box.starts} times")
    # One that was killed at once may not have come to write; one that ends by itself has.
    if over and box.starts and not shell.deaths and box.kind is BRIEF and ups == 0:
        raise Disagreement(f"{box.name}: nothing in its log, started {box.starts} times")


def update(shell: Shell, box: Box) -> None:
    """Give it another limit of memory, always less than what it may have with swap."""
    memory = shell.random.randrange(32, 64) * _MIB
    result = shell.do(box, "update", str(memory))
    if result is not None and result.code == 0:
        box.memory = {memory}


def commit(shell: Shell, box: Box) -> None:
    """Make an image of it, and remove that."""
    shell.images += 1
    name = f"shell{shell.number}:{shell.images}"
    result = shell.do(box, "commit", name)
    if result is None or result.code == 0:
        shell.give(Order("rmi", value=name))


def wait(shell: Shell, box: Box) -> None:
    """Ask how it ended, where it has."""
    if not all(state.status == "exited" for state in box.may):
        shell.do(box, "top")
        return
    result = shell.do(box, "wait")
    if result is None or result.code != 0:
        return
    if not box.observe("exited", int(result.out)):
        raise Disagreement(f"wait {box.name}: {result.out!r}, not of {sorted(box.may)}")


def prune(shell: Shell) -> None:
    """Remove those of one batch that do not run."""
    batch = shell.random.randrange(10)
    label = f"batch={shell.number}.{batch}"
    ours = [box for box in shell.boxes if box.batch == batch]
    result = shell.give(Order("prune", labels=(shell.label, label)))
    for box in ours:
        if shell.interrupted(result):
            box.apply_unknown("prune")
        elif result.code != 0 or not box.apply("prune", succeeded=True):
            raise Disagreement(f"prune: {result}; {box.name} could only be {sorted(box.may)}")
        shell.look(box)


def run_to_the_end(shell: Shell) -> None:
    """Run one that removes itself; nothing is to be left of it."""
    shell.made += 1
    name = f"s{shell.number}-{shell.made}"
    result = shell.give(Order("run_rm", name, command=BRIEF.command, labels=(shell.label,)))
    if result.code == 3 and result.out == b"up\n" and not result.err:
        return
    if not shell.deaths:
        raise Disagreement(f"run --rm {name}: {result}")
    box = Box(name, BRIEF, deaths=True, removes=True)
    begun = CREATED._replace(pending="start")
    box.starts, box.may = None, frozenset({ABSENT, CREATED, begun, RUNNING, exited(3)})
    shell.boxes.append(box)
    shell.look(box)
