"""One of the shells: gives random orders to containers of its own and to shared ones.

Run as ``python -m tests.stress.shell NUMBER SEED SECONDS CONTAINERS RUNNING SHARED DEATHS PROGRAM
FOLDER``. It writes ``trace-NUMBER`` (one line for each order) and, at its end, ``end-NUMBER.json``
with what it believes of its containers. A disagreement ends it with status 1 and one line.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from pathlib import Path
from typing import TextIO

from tests.stress import choice
from tests.stress.model import ABSENT, CREATED, RUNNING, Box, Disagreement
from tests.stress.orders import Order
from tests.stress.runners import CommandRunner, LibraryRunner, Result, Runner
from tests.stress.texts import INTERRUPTED, REFUSALS

_TRIES = 40  # looks at one container that may be interrupted in a row


class Shell:
    """One shell: its containers, its random numbers, its trace."""

    def __init__(self, number: int, seed: str, runner: Runner, trace: TextIO, deaths: bool) -> None:
        self.number = number
        self.random = random.Random(f"{seed}/{number}")
        self.boxes: list[Box] = []
        self.images = 0
        self.made = 0
        self.deaths = deaths
        self.label = f"shell={number}"
        self._runner = runner
        self._trace = trace

    def give(self, order: Order, stdin: bytes = b"") -> Result:
        """Carry an order out and note it. Raises Disagreement for what no error may look like."""
        began = time.time()
        result = self._runner.run(order, stdin)
        took = time.time() - began
        err = result.err.decode(errors="replace").strip()
        self._trace.write(
            f"{began:.3f} {took:7.3f}s {result.code:4d} {' '.join(order.words())}"
            f"{' | ' + err if err else ''}\n"
        )
        self._trace.flush()
        if "unexpected " in err or "Traceback" in err:
            raise Disagreement(f"a defect: {order}: {err}")
        return result

    def interrupted(self, result: Result) -> bool:
        """Return whether a death may explain how an order ended."""
        if not self.deaths:
            return False
        return result.killed or _says(result, INTERRUPTED)

    def do(self, box: Box, verb: str, value: str = "", stdin: bytes = b"") -> Result | None:
        """Give an order to a container and take its outcome in; None when that is not known."""
        result = self.give(self.order(box, verb, value), stdin)
        if self.interrupted(result):
            box.apply_unknown(verb)
            box.starts = None
            self._after_unknown(box, verb, value)
            return None
        succeeded = result.code == 0
        before = sorted(box.may)
        if not box.apply(verb, succeeded=succeeded):
            raise Disagreement(
                f"{verb} of {box.name} ended with {result.code} {result.err!r}; "
                f"it could only have been {before}"
            )
        return result

    def order(self, box: Box, verb: str, value: str = "") -> Order:
        """Return an order for a container; a new one gets all it is made of."""
        if verb not in ("create", "run"):
            return Order(verb, box.name, value)
        labels = (self.label, f"batch={self.number}.{box.batch}")
        return Order(verb, box.name, "", box.kind.command, labels, box.policy)

    def _after_unknown(self, box: Box, verb: str, value: str) -> None:
        if verb in ("exec", "cp"):
            box.files.setdefault({"exec": "mark", "cp": "copied"}[verb], {""}).add(value)
        if verb == "update":
            box.memory.add(int(value))
        box.names = {box.name, value} if verb == "rename" else {box.name}
        self.look(box)

    def look(self, box: Box) -> None:
        """Look at a container and take in what there is. Raises Disagreement."""
        for _ in range(_TRIES):
            for name in sorted(box.names or {box.name}):
                result = self.give(Order("inspect", name))
                if self.interrupted(result):
                    break
                if result.code == 0:
                    self._seen(box, name, json.loads(result.out)[0])
                    return
            else:
                self._not_seen(box)
                return
        raise Disagreement(f"{box.name}: nobody could look at it {_TRIES} times")

    def _seen(self, box: Box, name: str, shown: dict[str, object]) -> None:
        state = shown["State"]
        host = shown["HostConfig"]
        assert isinstance(state, dict)
        assert isinstance(host, dict)
        box.name, box.names = name, {name}
        found = str(shown["Id"])
        if box.id and found != box.id:
            raise Disagreement(f"{box.name} is {found}, and was {box.id}")
        box.id = found
        before = sorted(box.may)
        if not box.observe(state["Status"], state["ExitCode"]):
            raise Disagreement(
                f"{box.name} is shown as {state['Status']} ({state['ExitCode']}); "
                f"it could only be {before}"
            )
        if host["Memory"] not in box.memory:
            raise Disagreement(f"{box.name}: memory {host['Memory']}, not of {box.memory}")
        box.memory = {host["Memory"]}
        if (state["Pid"] > 0) != (state["Status"] in ("running", "paused")):
            raise Disagreement(f"{box.name}: {state['Status']} with pid {state['Pid']}")

    def _not_seen(self, box: Box) -> None:
        before = sorted(box.may)
        if not box.observe("absent", 0):
            raise Disagreement(f"{box.name} is not there; it could only be {before}")

    def check_list(self) -> None:
        """Compare all containers of this shell with what ``ps`` shows."""
        result = self.give(Order("ps", value=self.label))
        if self.interrupted(result):
            return
        if result.code != 0:
            raise Disagreement(f"ps ended with {result.code}: {result.err!r}")
        lines = [line.split() for line in result.out.decode().splitlines()]
        shown = {identity: (name, state) for identity, name, state in lines}
        for box in self.boxes:
            name, status = shown.pop(box.id, ("", "absent"))
            box.settle()
            fits = [state for state in box.may if status in (state.status, "removing")]
            if not fits or (name and name != box.name):
                raise Disagreement(
                    f"ps shows {box.name} as {name!r}, {status}; it could only be {sorted(box.may)}"
                )
        if shown:
            raise Disagreement(f"ps shows what is not there any more: {shown}")

    def forget_the_absent(self) -> None:
        """Leave out what was removed."""
        self.boxes = [box for box in self.boxes if box.may != {ABSENT}]

    def create(self, verb: str) -> None:
        """Make another container, sometimes running at once."""
        kind, policy = choice.kind_of(self.random)
        self.made += 1
        box = Box(f"s{self.number}-{self.made}", kind, policy, self.random.randrange(10))
        box.deaths = self.deaths
        self.boxes.append(box)
        box.may = frozenset({CREATED if verb == "create" else RUNNING})
        result = self.give(self.order(box, verb))
        if self.interrupted(result):
            box.may = frozenset({ABSENT})
            box.apply_unknown(verb)
            box.starts = None
            self.look(box)
        elif result.code != 0:
            raise Disagreement(f"{verb} {box.name} ended with {result.code}: {result.err!r}")
        else:
            box.id = result.out.decode().strip()
            box.starts = None if policy else int(verb == "run")
            box.settle()

    def clone(self, box: Box) -> None:
        """Make a second container with the same files."""
        self.made += 1
        other = Box(f"s{self.number}-{self.made}", box.kind, box.policy, box.batch)
        other.removes = box.removes
        other.deaths, other.memory = self.deaths, set(box.memory)
        other.files = {name: set(texts) for name, texts in box.files.items()}
        self.boxes.append(other)
        result = self.do(box, "clone", other.name)
        if result is None or result.code != 0:
            other.may = frozenset({ABSENT, CREATED})
            self.look(other)
        else:
            other.may, other.id = frozenset({CREATED}), result.out.decode().strip()

    def disturb(self, shared: list[str]) -> None:
        """Give any order to a container that all shells use; only what may be said is checked."""
        name, verb, value = choice.for_shared(self.random, shared)
        labels = ("shared=1",)
        order = Order(verb, name, value, choice.kind_of(self.random)[0].command, labels)
        stdin = choice.archive("copied", "shared") if verb == "cp" else b""
        result = self.give(order, stdin)
        allowed = result.code == 0 or verb in ("exec", "crash") or _says(result, REFUSALS)
        if not allowed and not self.interrupted(result):
            raise Disagreement(f"{order}: {result.code} {result.err!r}")

    def living(self) -> int:
        """Return how many of its containers may be running."""
        return sum(box.living for box in self.boxes)

    def summary(self) -> list[dict[str, object]]:
        """Return what it believes of its containers, as JSON."""
        return [
            {
                "id": box.id, "name": box.name, "kind": box.kind.name, "policy": box.policy,
                "may": [list(state) for state in sorted(box.may)], "memory": sorted(box.memory),
                "files": {name: sorted(texts) for name, texts in box.files.items()},
                "starts": box.starts, "deaths": box.deaths,
            }
            for box in self.boxes
        ]  # fmt: skip


def _says(result: Result, texts: tuple[str, ...]) -> bool:
    said = result.err.decode(errors="replace")
    return any(re.search(text, said) for text in texts)


def main(argv: list[str]) -> int:
    """Run one shell; see the module."""
    number, seed, seconds, containers, running, shared, deaths, program, folder = argv
    runner: Runner = CommandRunner(program) if int(number) % 4 else LibraryRunner()
    names = [f"shared-{index}" for index in range(int(shared))]
    deadline = time.monotonic() + float(seconds)
    with (Path(folder) / f"trace-{number}").open("w") as trace:
        shell = Shell(int(number), seed, runner, trace, deaths == "1")
        try:
            while time.monotonic() < deadline:
                choice.step(shell, int(containers), int(running), names)
            for box in shell.boxes:
                shell.look(box)
        except Exception as error:
            print(f"shell {number}: {type(error).__name__}: {error}", flush=True)
            return 1
        finally:
            runner.close()
    shell.forget_the_absent()
    (Path(folder) / f"end-{number}.json").write_text(json.dumps(shell.summary()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
