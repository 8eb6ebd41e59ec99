"""How long does a command in a running container take, beside a bare ``nsenter`` and podman?"""

from __future__ import annotations

from knarr.engine.model import ContainerConfig, ExecConfig

from .harness import PAUSE, Report, alternate, command, timed
from .peers import IMAGE, Peers, ulimits
from .world import world


def run(rounds: int = 60) -> Report:
    """Execute ``true`` in one container by the library, the command, nsenter and podman."""
    report = Report("exec", "A command in a running container: `true`")
    with world() as there, Peers() as peers:
        peers.prepare_podman()
        config = ContainerConfig(image="busybox", command=("sleep", "1000"), network="none")
        container, _ = there.engine.containers.launch(config, attach=False)
        pid = container.inspect()["State"]["Pid"]
        inside = ExecConfig(command=("/bin/true",))

        def execute() -> None:
            if container.exec_run(inside).exit_code:
                raise RuntimeError("true failed in the container")

        # nsenter enters all seven namespaces and the root directory, and drops nothing
        enter = ["nsenter", "--target", str(pid), "--all", "--root", "--wd", "/bin/true"]
        words = [there.command, "exec", container.name, "/bin/true"]
        podman = ["run", "--detach", "--name", "one", *ulimits(), "--network", "none", IMAGE]
        try:
            peers.run(peers.podman(*podman, "sleep", "1000"))
            report.samples = alternate(
                {
                    "nsenter": command(enter),
                    "knarr library, exec_run()": timed(execute),
                    "knarr exec": command(words, there.environment),
                    "podman exec": lambda: peers.run(peers.podman("exec", "one", "/bin/true")),
                },
                rounds,
                pause=PAUSE,
            )
        finally:
            peers.remove_all()
        container.remove(force=True)
    report.goal("library / nsenter", report.ratio("knarr library, exec_run()", "nsenter"), 2.0)
    report.goal("knarr exec / podman", report.ratio("knarr exec", "podman exec"), 0.25)
    return report
