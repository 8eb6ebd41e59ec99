"""The engine: a container with a limit, its logs, a command inside, and its end."""

from __future__ import annotations

import knarr

with knarr.Engine() as engine:
    config = knarr.ContainerConfig(
        image="busybox",
        command=("sh", "-c", "echo up; trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done"),
        network="none",
        limits=knarr.Limits(memory=64 * 1024 * 1024, pids=20),
    )
    container = engine.containers.create(config)
    try:
        container.start()
        print(container.name, "is", container.status)

        inside = container.exec_run(knarr.ExecConfig(command=("hostname",)))
        print("its hostname is", inside.text.strip())

        container.stop(timeout=5)
        status = container.wait()
        print("exit code", status.exit_code, "processor time", status.usage.cpu_total, "ns")
        for entry in container.logs(lines=True):
            print("log:", entry.data.decode().rstrip())
    finally:
        container.remove(force=True)
