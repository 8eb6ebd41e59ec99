"""One thing that a shell has done: as words for the command, or as a call of the library."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knarr import Container, Engine

IMAGE = "busybox"


@dataclass(frozen=True)
class Order:
    """What is to be done. name: of the container, "" when several are meant.

    value: what the verb takes besides: the new name, bytes, text of a file, a signal's moment.
    """

    verb: str
    name: str = ""
    value: str = ""
    command: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    policy: str = ""

    def to_json(self) -> str:
        """Return it in one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Order:
        """Return what `to_json` wrote."""
        words = json.loads(line)
        for name in ("command", "labels"):
            words[name] = tuple(words[name])
        return cls(**words)

    def words(self) -> list[str]:
        """Return the arguments of the command."""
        labels = [word for label in self.labels for word in ("--label", label)]
        policy = ["--restart", self.policy] if self.policy else []
        new = [*labels, *policy, "--name", self.name, IMAGE, *self.command]
        plain = [self.name]
        table: dict[str, list[str]] = {
            "create": ["create", *new],
            "run": ["run", "-d", *new],
            "run_rm": ["run", "--rm", *new],
            "start_attached": ["start", "-a", *plain],
            "stop": ["stop", "-t", self.value, *plain],
            "restart": ["restart", "-t", self.value, *plain],
            "term": ["kill", "-s", "TERM", *plain],
            "crash": ["exec", *plain, "kill", "1"],
            "rename": ["rename", self.name, self.value],
            "rm_force": ["rm", "-f", *plain],
            "exec": ["exec", *plain, "sh", "-c", f"echo {self.value} > /mark"],
            "exec_detached": ["exec", "-d", *plain, "sleep", "100000"],
            "cp": ["cp", "-", f"{self.name}:/"],
            "read": ["cp", f"{self.name}:/{self.value}", "-"],
            "update": ["update", "--memory", self.value, *plain],
            "commit": ["commit", *plain, self.value],
            "rmi": ["rmi", self.value],
            "clone": ["container", "clone", *plain, self.value],
            "ps": ["ps", "-a", "--no-trunc", "--filter", f"label={self.value}", "--format",
                   "{{.ID}} {{.Names}} {{.State}}"],
            "prune": ["container", "prune", "-f",
                      *[word for label in self.labels for word in ("--filter", f"label={label}")]],
            "recover": ["recover"],
        }  # fmt: skip
        return table.get(self.verb, [self.verb, *plain])


def carry_out(engine: Engine, order: Order, stdin: bytes) -> tuple[int, bytes]:
    """Do it by the library; return exit code and output as the command has them.

    Raises KnarrError.
    """
    special = _ALONE.get(order.verb)
    if special is not None:
        return special(engine, order)
    container = engine.containers.get(order.name)
    return _with_container(container, order, stdin)


def _config(order: Order, **more: Any) -> Any:
    from knarr import ContainerConfig
    from knarr.cli.container_config import pairs, restart_policy

    return ContainerConfig(
        IMAGE, order.command, name=order.name, labels=pairs(order.labels),
        restart=restart_policy(order.policy or None), **more,
    )  # fmt: skip


def _create(engine: Engine, order: Order) -> tuple[int, bytes]:
    return 0, engine.containers.create(_config(order)).id.encode() + b"\n"


def _run(engine: Engine, order: Order) -> tuple[int, bytes]:
    launched = engine.containers.launch(_config(order), attach=False)
    return 0, launched.container.id.encode() + b"\n"


def _run_rm(engine: Engine, order: Order) -> tuple[int, bytes]:
    result = engine.containers.run(_config(order, auto_remove=True))
    return result.exit_code, result.stdout


def _ps(engine: Engine, order: Order) -> tuple[int, bytes]:
    found = engine.containers.list(all=True, filters={"label": [order.value]})
    lines = [f"{each.id} {each.name} {each.status}\n" for each in found]
    return 0, "".join(lines).encode()


def _prune(engine: Engine, order: Order) -> tuple[int, bytes]:
    removed, _ = engine.containers.prune({"label": list(order.labels)})
    return 0, "\n".join(removed).encode()


def _rmi(engine: Engine, order: Order) -> tuple[int, bytes]:
    engine.images.remove(order.value)
    return 0, b""


def _recover(engine: Engine, order: Order) -> tuple[int, bytes]:
    return 0, "\n".join(engine.recover().problems).encode()


_ALONE = {
    "create": _create, "run": _run, "run_rm": _run_rm, "ps": _ps, "prune": _prune, "rmi": _rmi,
    "recover": _recover,
}  # fmt: skip


def _with_container(container: Container, order: Order, stdin: bytes) -> tuple[int, bytes]:
    import io

    from knarr import ExecConfig, Limits, errors

    out = b""
    code = 0
    match order.verb:
        case "start" | "stop":
            try:
                container.start() if order.verb == "start" else container.stop(int(order.value))
            except errors.NotModified:
                pass  # as the command does
        case "restart":
            container.restart(int(order.value))
        case "kill" | "term":
            container.kill("TERM" if order.verb == "term" else "KILL")
        case "rename":
            container.rename(order.value)
        case "rm" | "rm_force":
            container.remove(force=order.verb == "rm_force")
        case "exec" | "crash":
            words = ("sh", "-c", f"echo {order.value} > /mark")
            ran = container.exec_run(ExecConfig(("kill", "1") if order.verb == "crash" else words))
            code, out = ran.exit_code, ran.stdout
        case "exec_detached":
            container.exec(ExecConfig(("sleep", "100000"))).close()
        case "cp":
            container.put_archive("/", io.BytesIO(stdin))
        case "read":
            out = b"".join(container.get_archive("/" + order.value))
        case "update":
            container.update(Limits(memory=int(order.value)))
        case "commit":
            container.commit(order.value)
        case "clone":
            out = container.clone(order.value).id.encode()
        case "logs":
            out = b"".join(entry.data for entry in container.logs())
        case "wait":
            out = f"{container.wait(60).exit_code}\n".encode()
        case "inspect":
            out = json.dumps([container.inspect()]).encode()
        case "start_attached":
            code, out = _start_attached(container)
        case "pause" | "unpause" | "diff" | "top":
            getattr(container, order.verb)()
        case other:
            raise ValueError(other)
    return code, out


def _start_attached(container: Container) -> tuple[int, bytes]:
    from knarr.engine.pump import communicate

    attachment = container.start(attach=True)
    assert attachment is not None
    with attachment:
        stdout, _, _ = communicate(attachment, None, 60)
        status = attachment.status or container.wait()
        container.finish(attachment)
    return status.exit_code, stdout
