"""What users type after reading a guide to containers, and what has to come of it.

One row for each command, with ``knarr`` for ``docker``. Images that cannot be pulled are made by
the test beside this table, under the names that the commands have. ``not_yet`` is what knarr says
of a command that it cannot carry out so far; a row whose command works by now fails.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One command: its words, its exit code, what its output has in it, and what it is about.

    words: ``{here}`` is a folder of the host. out: a regular expression for all of stdout.
    not_yet: a regular expression for the first line of stderr.
    """

    about: str
    words: str
    code: int = 0
    out: str = ""
    not_yet: str = ""


ID = r"[0-9a-f]{64}\n"

# In this order, in one place: what one row leaves the next may use.
ROWS = (
    # ENTRYPOINT is what always runs, CMD what it gets unless something else is said.
    Row("entrypoint and cmd", "run --rm myimage", out=r"app\.py --port 8000\n"),
    Row("entrypoint, other arguments", "run --rm myimage --port 9000",
        out=r"app\.py --port 9000\n"),
    Row("another entrypoint", "run --rm --entrypoint echo myimage hello", out=r"hello\n"),
    Row("shell form is a shell's child", "run --rm shellform", out=r"/bin/sh -c tr .*\n"),
    # Namespaces: what it sees.
    Row("a process tree of its own", "run --rm debianlike sh -c 'echo $$; ls -d /proc/[0-9]*'",
        out=r"1\n(/proc/\d\n)+"),
    Row("a name of its own", "run --rm --hostname web debianlike hostname", out=r"web\n"),
    Row("its own root directory", "run --rm debianlike ls -d {here}", 1),
    Row("the seven namespaces", "run --rm debianlike ls /proc/self/ns",
        out=r"(?s)(?=.*cgroup)(?=.*ipc)(?=.*mnt)(?=.*net)(?=.*pid)(?=.*user)(?=.*uts).*"),
    # Control groups: what it may use.
    Row("a memory limit", "run -d --name limited --memory 64m --cpus 0.5 --pids-limit 100 server",
        out=r"[0-9a-f]{64}\n"),
    Row("the limits are in force", "inspect -f {{.HostConfig.Memory}}:{{.HostConfig.NanoCpus}}"
        ":{{.HostConfig.PidsLimit}} limited", out=r"67108864:500000000:100\n"),
    Row("and gone", "rm -f limited", out=r"limited\n"),
    # A service: started, looked at, entered, stopped.
    Row("in the background", "run -d --name web --network host -e GREETING=moin myapp",
        out=r"[0-9a-f]{64}\n"),
    Row("ps", "ps --format '{{.Names}} {{.Image}} {{.State}}'", out=r"web myapp running\n"),
    Row("ps has Docker's columns", "ps", out=r"CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS"
        r" +NAMES\n[0-9a-f]{12} +myapp +\".*\" +.* ago +Up .* +web\n"),
    Row("logs follow until it is ready", "exec web sh -c 'until test -e /tmp/ready; do :; done'"),
    Row("logs", "logs web", out=r"listening\n"),
    Row("logs, the last line", "logs --tail 1 -t web", out=r"\d{4}-\S+Z listening\n"),
    Row("exec", "exec web cat /etc/motd", out=r"stand-in\n"),
    Row("exec with a terminal needs one", "exec -it web sh", 1),
    Row("exec as somebody", "exec -u 1000 -w /tmp web sh -c 'id -u; pwd'", out=r"1000\n/tmp\n"),
    Row("its environment", "exec web sh -c 'echo $GREETING'", out=r"moin\n"),
    Row("port", "port web"),
    Row("top", "top web", out=r"(?s)UID .*httpd.*"),
    Row("stop", "stop web", out=r"web\n"),
    Row("it ended as it was asked to", "inspect -f '{{.State.Status}} {{.State.ExitCode}}' web",
        out=r"exited 0\n"),
    Row("ps shows what runs only", "ps -q"),
    Row("ps -a", "ps -a --format {{.Status}}", out=r"Exited \(0\) .* ago\n"),
    Row("start", "start web", out=r"web\n"),
    Row("restart", "restart -t 5 web", out=r"web\n"),
    Row("rm refuses what runs", "rm web", 1),
    Row("rm -f", "rm -f web", out=r"web\n"),
    # Networks; overlay comes later.
    Row("no network", "run --rm --network none debianlike ls /sys/class/net", out=r"lo\n"),
    Row("the host's network", "run --rm --network host debianlike readlink /proc/self/ns/net",
        out=r"net:\[{netns}\]\n"),
    Row("bridge by name", "run --rm --network bridge debianlike ls /sys/class/net",
        out=r"eth0\nlo\n"),
    Row("a network of one's own", "network create app", out=r"[0-9a-f]{64}\n"),
    Row("in that network", "run --rm --network app --network-alias db debianlike ls /sys/class/net",
        out=r"eth0\nlo\n"),
    Row("host port to container port", "run -d --name p1 -p 8080:3000 myapp", out=ID),
    Row("where it is", "port p1", out=r"3000/tcp -> 0\.0\.0\.0:8080\n"),
    Row("a port that is taken", "run -d --name p0 -p 8080:3000 myapp", 125, out=ID),
    Row("one address of the host", "run -d --name p2 -p 127.0.0.1:8081:3000 myapp", out=ID),
    Row("there only", "port p2", out=r"3000/tcp -> 127\.0\.0\.1:8081\n"),
    Row("any port", "run -d --name p3 -p 3000 myapp", out=ID),
    Row("which it is", "port p3 3000", out=r"0\.0\.0\.0:\d+\n"),
    Row("all exposed ports", "run -d --name p4 -P myapp", out=ID),
    Row("which they are", "port p4", out=r"3000/tcp -> 0\.0\.0\.0:\d+\n"),
    Row("away with them", "rm -f p0 p1 p2 p3 p4", out=r"p0\np1\np2\np3\np4\n"),
    Row("links are gone", "run --link db myapp", 125, not_yet=r"use --network-alias"),
    # Files that outlive a container.
    Row("a named volume", "volume create pgdata", 1, not_yet=r"named volumes are not available"),
    Row("with it", "run -v pgdata:/var/lib/postgresql/data postgres:16", 125,
        not_yet=r"named volumes are not available yet; .* give its path, such as \./pgdata"),
    Row("a bind mount", "run --rm -v {here}/src:/app/src debianlike cat /app/src/main",
        out=r"source\n"),
    Row("read-only", "run --rm -v {here}/src:/app/src:ro debianlike touch /app/src/main", 1),
    Row("the long form", "run --rm --mount type=bind,src={here}/src,dst=/s,readonly debianlike "
        "cat /s/main", out=r"source\n"),
    Row("tmpfs for secrets", "run --rm --tmpfs /run/secrets:rw,noexec,size=64m debianlike "
        "grep /run/secrets /proc/mounts",
        out=r"tmpfs /run/secrets tmpfs rw,(?=.*noexec)(?=.*size=65536k).*\n"),
    Row("and nothing runs from there", "run --rm --tmpfs /run/secrets:rw,noexec,size=64m "
        "debianlike sh -c 'cp /bin/busybox /run/secrets/x; /run/secrets/x true'", 126),
    Row("data goes with its container", "run --rm debianlike sh -c 'echo x > /data; cat /data'",
        out=r"x\n"),
    # Images and their names.
    Row("a clear version", "tag myapp myapp:1.4.2"),
    Row("a commit", "tag myapp myapp:a1b2c3d"),
    Row("both", "tag myapp myapp:1.4.2-a1b2c3d"),
    Row("one image, four names", "images --format {{.Tag}} myapp",
        out=r"(?=(?:.*\n)*latest\n)(?=(?:.*\n)*1\.4\.2\n)(?:.*\n){4}"),
    Row("push, where there is no registry", "push myapp:1.4.2", 1,
        out=r"(?s)The push refers to repository \[docker\.io/library/myapp\]\n.*"),
    Row("login asks on a terminal only", "login ghcr.io", 1),
    Row("build", "build -t myapp .", 1, not_yet=r"building images is not available yet"),
    Row("compose", "compose up", 1, not_yet=r"Compose projects are not available yet"),
    # Health: what depends on it, asks for it.
    Row("a health check", "run -d --name db --health-cmd pg_isready --health-interval 1s "
        "--health-retries 5 postgres:16", out=r"[0-9a-f]{64}\n"),
    Row("it shows", "inspect -f '{{.Config.Healthcheck.Retries}}' db", out=r"5\n"),
    Row("it is removed", "rm -f db", out=r"db\n"),
    # Hardening.
    Row("not as root", "run --rm hardened", out=r"65532\n"),
    Row("not as root, by flag", "run --rm --user 1000:1000 debianlike id -u", out=r"1000\n"),
    Row("a read-only root", "run --rm --read-only debianlike touch /bin/x", 1),
    Row("with room to write", "run --rm --read-only --tmpfs /tmp debianlike touch /tmp/x"),
    Row("no capability", "run --rm --cap-drop ALL debianlike grep CapEff /proc/self/status",
        out=r"CapEff:\t0+\n"),
    Row("but one", "run --rm --cap-drop ALL --cap-add NET_BIND_SERVICE debianlike "
        "grep CapEff /proc/self/status", out=r"CapEff:\t0+400\n"),
    Row("no new privileges", "run --rm --security-opt no-new-privileges debianlike "
        "grep NoNewPrivs /proc/self/status", out=r"NoNewPrivs:\t1\n"),
    Row("filtered system calls", "run --rm debianlike grep Seccomp: /proc/self/status",
        out=r"Seccomp:\t2\n"),
    Row("all of it", "run --rm --read-only --tmpfs /tmp --cap-drop ALL --user 1000 "
        "--security-opt no-new-privileges --memory 64m --pids-limit 50 --network none "
        "debianlike sh -c 'id -u; touch /tmp/x'", out=r"1000\n"),
    Row("nothing is left", "ps -aq"),
)  # fmt: skip
