"""What a container may be doing, as far as the commands that were given to it say.

A `Box` keeps the *set* of states that its container may be in. A command's outcome takes away
those in which it could not have ended so, and moves the others on. An empty set is a disagreement
between knarr and this model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

# Exit codes of a container whose supervisor and launcher were killed before it ended, and of one
# that could not be started since who made it was killed.
BY_DEATHS = (255, 128)
KILLED = 137


class Disagreement(AssertionError):
    """What knarr did cannot be, as far as the model knows."""


class State(NamedTuple):
    """Docker's status, the exit code, and a signal that may end it yet.

    pending: ``end`` when it was asked to end for good, ``kill`` when it may have been killed,
    ``crash`` when its policy would have it started again, ``start`` when a start is under way
    whose asker was killed.
    """

    status: str
    code: int = 0
    pending: str = ""


ABSENT, CREATED = State("absent"), State("created")
RUNNING, PAUSED, RESTARTING = State("running"), State("paused"), State("restarting")
REMOVING = State("removing")  # whoever was at it was killed: ``recover`` goes on
LIVING = ("running", "paused", "restarting")


def exited(code: int) -> State:
    """Return the state of a container that has ended."""
    return State("exited", code)


class Kind(NamedTuple):
    """A program that a container runs: its words, how it ends by itself and when asked to."""

    name: str
    command: tuple[str, ...]
    ends: int | None = None  # exit code of one that ends by itself
    asked: int | None = None  # exit code when the stop signal comes, None: takes no notice


SLEEPER = Kind("sleeper", ("sleep", "100000"))
POLITE = Kind("polite", ("sh", "-c", "trap 'exit 7' TERM; echo up; sleep 100000 & wait"), asked=7)
BRIEF = Kind("brief", ("sh", "-c", "echo up; exit 3"), ends=3)
KINDS = {kind.name: kind for kind in (SLEEPER, POLITE, BRIEF)}


class Outcome(NamedTuple):
    """One way in which a command may go."""

    succeeds: bool
    after: tuple[State, ...]


@dataclass
class Box:
    """One container as its shell knows it. memory and files: what each may be by now."""

    name: str
    kind: Kind
    policy: str = ""
    batch: int = 0
    id: str = ""
    may: frozenset[State] = frozenset({ABSENT})
    memory: set[int] = field(default_factory=lambda: {0})
    files: dict[str, set[str]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    starts: int | None = 0  # how often it was started, None: not known
    deaths: bool = False  # somebody kills knarr's processes meanwhile
    removes: bool = False  # itself, when it has ended

    @property
    def living(self) -> bool:
        """Return whether it may have a process."""
        return any(state.status in LIVING for state in self.may)

    def settle(self) -> None:
        """Add what it may have become by itself."""
        found, todo = set(self.may), list(self.may)
        while todo:
            for state in self._by_itself(todo.pop()):
                if state not in found:
                    found.add(state)
                    todo.append(state)
        self.may = frozenset(found)

    def _by_itself(self, state: State) -> Iterable[State]:
        if state.status == "restarting":
            yield RUNNING
        if state.status == "removing":
            yield ABSENT
        if state.pending == "start":
            yield RUNNING
        if self.removes and state.status == "exited":
            yield from (REMOVING, ABSENT)
        if state.status != "running":
            return
        if self.kind.ends is not None:
            yield exited(self.kind.ends)
            if self.policy:
                yield State("restarting", self.kind.ends)
        if state.pending == "kill":
            yield from self.ended(state)
        elif state.pending and self.kind.asked is not None:
            again = state.pending == "crash" and self.policy
            yield State("restarting", self.kind.asked) if again else exited(self.kind.asked)

    def outcomes(self, verb: str, state: State) -> tuple[Outcome, ...]:
        """Return how ``verb`` may go for a container in a state."""
        if state.status == "absent":
            return (Outcome(False, (ABSENT,)),)
        if state.status == "removing":
            after = (REMOVING, ABSENT)
            return (Outcome(True, after), Outcome(False, after))
        rule = getattr(self, "_" + verb.replace(" ", "_"), None)
        if rule is None:  # what looks, or changes no state
            return (Outcome(True, (state,)),)
        found: tuple[Outcome, ...] = rule(state)
        return found

    def _start(self, state: State) -> tuple[Outcome, ...]:
        if state.status == "paused":
            return (Outcome(False, (state,)),)
        if state.status in ("running", "restarting"):
            return (Outcome(True, (state,)),)
        return (Outcome(True, (RUNNING,)),)

    def _restart(self, state: State) -> tuple[Outcome, ...]:
        return (Outcome(True, (RUNNING,)),)

    def ended(self, state: State) -> tuple[State, ...]:
        """Return how one that lives may have ended once it was stopped."""
        codes = {KILLED} | {code for code in (self.kind.asked, self.kind.ends) if code is not None}
        if state.status == "restarting":
            codes = {state.code}
        return tuple(exited(code) for code in sorted(codes))

    def _stop(self, state: State) -> tuple[Outcome, ...]:
        if state.status in LIVING:
            return (Outcome(True, self.ended(state)),)
        return (Outcome(True, (state,)),)

    def _kill(self, state: State) -> tuple[Outcome, ...]:
        if state.status in LIVING:
            return (Outcome(True, self.ended(state)),)
        return (Outcome(False, (state,)),)

    def _term(self, state: State) -> tuple[Outcome, ...]:
        """SIGTERM alone: it may come before the trap is set, and then nothing follows."""
        if state.status == "restarting":
            return (Outcome(True, self.ended(state)),)
        if state.status in LIVING:
            return (Outcome(True, (State("running", 0, "end"),)),)
        return (Outcome(False, (state,)),)

    def _crash(self, state: State) -> tuple[Outcome, ...]:
        """``exec CONTAINER kill 1``; the command may be killed with the container."""
        if state.status != "running":
            return (Outcome(False, (state,)),)
        after = state._replace(pending=state.pending or "crash")
        return (Outcome(True, (after,)), Outcome(False, (after,)))

    def _pause(self, state: State) -> tuple[Outcome, ...]:
        if state.status == "running":
            return (Outcome(True, (state._replace(status="paused"),)),)
        return (Outcome(False, (state,)),)

    def _unpause(self, state: State) -> tuple[Outcome, ...]:
        if state.status == "paused":
            return (Outcome(True, (state._replace(status="running"),)),)
        return (Outcome(False, (state,)),)

    def _rm(self, state: State) -> tuple[Outcome, ...]:
        if state.status in LIVING:
            return (Outcome(False, (state,)),)
        return (Outcome(True, (ABSENT,)),)

    def _rm_force(self, state: State) -> tuple[Outcome, ...]:
        return (Outcome(True, (ABSENT,)),)

    def _prune(self, state: State) -> tuple[Outcome, ...]:
        return (Outcome(True, (state if state.status in LIVING else ABSENT,)),)

    def _exec(self, state: State) -> tuple[Outcome, ...]:
        if state.status != "running":
            return (Outcome(False, (state,)),)
        if state.pending or self.kind.ends is not None:  # it may end under the command
            return (Outcome(True, (state,)), Outcome(False, (state,)))
        return (Outcome(True, (state,)),)

    _exec_detached = _exec

    def _top(self, state: State) -> tuple[Outcome, ...]:
        return (Outcome(True, (state,)),) if state.status == "paused" else self._exec(state)

    def _update(self, state: State) -> tuple[Outcome, ...]:
        if state.status == "running" and (state.pending or self.kind.ends is not None):
            return (Outcome(True, (state,)), Outcome(False, (state,)))
        return (Outcome(True, (state,)),)

    def apply(self, verb: str, *, succeeded: bool) -> bool:
        """Take a command's outcome in; return False when it could not have gone so."""
        self.settle()
        after = {
            state
            for before in self.may
            for outcome in self.outcomes(verb, before)
            if outcome.succeeds == succeeded
            for state in outcome.after
        }
        if not after:
            return False
        self.may = frozenset(after)
        self.settle()
        return True

    def apply_unknown(self, verb: str) -> None:
        """Take in that a command was begun, and that nobody told how it went."""
        self.settle()
        after = set(self.may)
        for before in self.may:
            for outcome in self.outcomes(verb, before):
                after.update(outcome.after)
            after.update(self._half_done(verb, before))
        self.may = frozenset(after)
        self.settle()

    def _half_done(self, verb: str, before: State) -> Iterable[State]:
        if verb in ("create", "run"):
            yield from (CREATED, RUNNING, ABSENT) if verb == "run" else (CREATED, ABSENT)
        if verb in ("start", "restart", "run"):
            resting = self.ended(before) if before.status in LIVING else (before,)
            for state in (CREATED,) if verb == "run" else resting:
                yield state._replace(pending="start")
        if verb in ("rm", "rm_force", "prune"):
            yield from (REMOVING, ABSENT)
        if before.status in LIVING and verb in ("stop", "restart", "rm_force", "kill", "term"):
            yield from self.ended(before)
            yield State("running", 0, "kill")
            yield before._replace(pending="kill")
        if before.status == "running" and verb in ("commit", "clone"):
            yield before._replace(status="paused")

    def observe(self, status: str, code: int) -> bool:
        """Take in what ``inspect`` or ``ps`` shows; return False when it cannot be so."""
        self.settle()
        fits = frozenset(
            state
            for state in self.may
            if (state.status == status or (status == "absent" and state == REMOVING))
            and (status != "exited" or code == state.code or (self.deaths and code in BY_DEATHS))
        )
        if not fits:
            return False
        self.may = fits
        self.settle()
        return True
