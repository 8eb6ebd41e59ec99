"""``make demo``: two base images, a few containers, and what they see. Ends clean.

Everything lives below build/demo and a run root of its own; nothing of a knarr
that is already in use on this machine is touched. Each command is printed
before it runs, so that it can be typed by hand.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
IN_COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
# The script that a container runs to show its own namespaces, one "name link" a line.
SHOW_NAMESPACES = f"for n in {' '.join(NAMESPACES)}; do echo $n $(readlink /proc/self/ns/$n); done"
STARTS = 10
# Seconds in which any command of the demo has ended, also the one that asks a slow mirror.
PATIENCE = 600
# What a long command says on the way; only its result is shown here.
PROGRESS = ("Bootstrapping:", "Storing", "Verifying")


class DemoError(Exception):
    """A step did not do what it should."""


def paint(code: str, text: str) -> str:
    """Return ``text`` in a colour when a person is looking."""
    return f"\033[{code}m{text}\033[0m" if IN_COLOUR else text


def heading(text: str) -> None:
    """Print the title of a step."""
    print(f"\n{paint('1', text)}", flush=True)


class Demo:
    """The knarr command and the library, both on the demo's own roots."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.data_root = ROOT / "build" / "demo"
        self.run_root = tempfile.mkdtemp(prefix="knarr-demo-", dir="/run")
        os.environ["PATH"] = f"{Path(self.command).parent}:{os.environ['PATH']}"
        os.environ["KNARR_ROOT"] = str(self.data_root)
        os.environ["KNARR_RUN_ROOT"] = self.run_root
        os.environ["KNARR_CGROUP_PARENT"] = "/knarr-demo"
        # The default would be a bridge that stays, as Docker's docker0 does.
        os.environ["KNARR_DEFAULT_NETWORK"] = "none"
        os.environ["DOCKER_CONFIG"] = f"{self.run_root}/docker"  # where a login is kept

    def run(self, line: str, *, expect: int = 0, stdin: str = "", show: bool = True) -> str:
        """Print and run a command line; return its output. Raises DemoError on another status."""
        shown = f"echo {stdin.strip()} | {line}" if stdin else line
        if show:
            print(paint("36", f"  $ {shown}"), flush=True)
        try:
            done = subprocess.run(
                shlex.split(line), input=stdin, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode(errors="replace")
            raise DemoError(f"no end after {PATIENCE} seconds: {line}\n{said}") from None
        if show:
            for text in done.stdout.splitlines():
                if not text.startswith(PROGRESS):
                    print(f"    {text}")
        if done.returncode != expect:
            raise DemoError(f"status {done.returncode} instead of {expect}: {line}\n{done.stdout}")
        if show and expect:
            print(f"    (exit code {done.returncode})")
        sys.stdout.flush()
        return done.stdout

    def images(self) -> None:
        """Make the base images; the second time they are there already."""
        heading("Base images, without any registry")
        have = self.run("knarr images", show=False)
        for name in ("busybox", "debian:bookworm"):
            repository, _, tag = name.partition(":")
            if any(
                words[:2] == [repository, tag or "latest"]
                for words in map(str.split, have.splitlines())
            ):
                print(f"    {name} is still there from the last time")
                continue
            started = time.monotonic()
            self.run(f"knarr bootstrap {name}")
            print(f"    (took {time.monotonic() - started:.1f} s)")
        self.run("knarr images")
        self.run("knarr info -f '{{.Driver}}'")
        print("    (erofs: layers stay tars and are mounted; overlay: they are unpacked)")

    def output(self) -> None:
        """Run commands, with input and with exit codes."""
        heading("A command and its output, its input, its exit code")
        self.run("knarr run --rm busybox echo hello from a container")
        self.run("knarr run --rm debian:bookworm cat /etc/os-release")
        self.run("knarr run -i --rm busybox tr a-z A-Z", stdin="through standard input\n")
        self.run("knarr run --rm busybox sh -c 'exit 7'", expect=7)
        self.run("knarr run --rm busybox no-such-command", expect=127)
        self.run("knarr run --rm --pull never no-such-image", expect=125)

    def namespaces(self) -> None:
        """Put a container's namespaces beside the host's."""
        heading("Seven namespaces of its own")
        text = self.run(f"knarr run --rm busybox sh -c '{SHOW_NAMESPACES}'", show=False)
        inside = dict(line.split() for line in text.splitlines())
        print(f"    {'':8}{'host':22}container")
        for name in NAMESPACES:
            outside = os.readlink(f"/proc/self/ns/{name}")
            own = inside.get(name, "?")
            print(f"    {name:8}{outside:22}{own:22}{'own' if own != outside else 'SHARED'}")
            if own == outside:
                raise DemoError(f"the container shares the host's {name} namespace")

    def identity(self) -> None:
        """Show that root inside is nobody outside, and what it may not do."""
        heading("Root inside is nobody outside")
        self.run("knarr run --rm busybox sh -c 'id -u; cat /proc/self/uid_map'")
        self.run("knarr run -d --name who busybox sleep 1000")
        pid = int(self.run("knarr inspect -f {{.State.Pid}} who", show=False))
        uid = os.stat(f"/proc/{pid}").st_uid
        print(f"    on the host, its process {pid} belongs to uid {uid}")
        if uid == 0:
            print("    (this kernel cannot map layers: the container runs as the host's root)")
        self.run("knarr rm -f who")
        self.run("knarr run --rm --read-only busybox touch /file", expect=1)
        policy = Path(self.run_root, "policy.toml")
        policy.write_text("[containers]\nnon_root = true\n")
        self.run(f"cat {policy}")
        self.run(f"env KNARR_POLICY={policy} knarr run --rm busybox id", expect=125)
        self.run(f"env KNARR_POLICY={policy} knarr run --rm --user 1000 busybox id -u")
        self.run("knarr run --rm busybox sh -c 'mount -t tmpfs none /tmp || echo not allowed'")

    def explanation(self) -> None:
        """Show what took longest of a start, and what the explanation has to say otherwise."""
        heading("What was done for that, step by step: knarr explain")
        line = "knarr run -d --explain --name plain busybox sleep 1000"
        print(paint("36", f"  $ {line} 2> explanation"), flush=True)
        self.run(line, show=False)
        found = json.loads(self.run("knarr explain --format json plain", show=False))
        steps = [each for each in found["Start"]["Steps"] if each["By"] == "process"]
        calls = sum(each["CallCount"] or 0 for each in steps)
        print(
            f"    its first process made {calls} system calls; the longest of {len(steps)} steps:"
        )
        for each in sorted(steps, key=lambda each: each["Took"] or 0)[-5:]:
            print(f"    {each['Took'] / 1e6:8.3f} ms  {each['Step']:.40}: {each['Meaning']:.70}")
        print("    (all of it, with layers, mounts, limits, capabilities: knarr explain NAME)")
        self.run("knarr rm -f plain")

    def limits(self) -> None:
        """Set limits; read them from the kernel; run into one."""
        heading("Limits, as the kernel sees them")
        options = "--memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 50"
        self.run(f"knarr run -d --name limited {options} busybox sleep 1000")
        pid = int(self.run("knarr inspect -f {{.State.Pid}} limited", show=False))
        for label, value in limits_of(pid):
            print(f"    {label:40}{value}")
        self.run("knarr rm -f limited")
        # tail keeps the last line in memory, and zeros never end one
        self.run("knarr run --name greedy --memory 32m --memory-swap 32m busybox tail /dev/zero",
                 expect=137)  # fmt: skip
        self.run("knarr inspect -f 'killed for memory: {{.State.OOMKilled}}' greedy")
        self.run("knarr rm greedy")

    def life(self) -> None:
        """Run in the background: logs, exec, use, copy, stop."""
        heading("In the background: logs, exec, stats, cp, stop")
        self.run("knarr run -d --init --name web busybox sh -c 'echo started; exec sleep 1000'")
        self.run("knarr exec web ps")
        self.run("knarr stats --no-stream web")
        self.run("knarr logs --timestamps web")
        self.run(f"knarr cp web:/etc/passwd {self.run_root}/passwd")
        self.run(f"cat {self.run_root}/passwd")
        self.run("knarr ps")
        self.run("knarr stop -t 1 web")
        self.run("knarr ps -a")
        self.run("knarr system df")
        self.run("knarr system prune -f")

    def health(self) -> None:
        """Have a container checked; wait until it is healthy."""
        heading("Whether it works: health checks")
        import knarr

        check = "--health-cmd 'test -e /tmp/ready && date'"
        times = "--health-start-period 1m --health-start-interval 200ms"
        self.run(f"knarr run -d --name site {check} {times} busybox sleep 1000")
        shown = "--format 'table {{.Names}}\\t{{.Status}}'"
        self.run(f"knarr ps {shown}")
        self.run("knarr exec site touch /tmp/ready")
        with knarr.Engine() as engine:
            engine.containers.get("site").wait_healthy(PATIENCE)
        self.run(f"knarr ps --filter health=healthy {shown}")
        log = "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}"
        self.run(f"knarr inspect -f '{log}' site")
        self.run("knarr rm -f site")

    def networks(self) -> None:
        """Have containers find each other by name, and a port of this machine lead to one."""
        heading("Networks")
        self.run("knarr network create demo")
        # httpd is busybox's; who asks for the name may be quicker than it is.
        self.run("knarr run -d --name web --network demo -p 127.0.0.1::80 "
                 "busybox httpd -f -p 80 -h /etc")  # fmt: skip
        where = self.run("knarr port web 80").strip()
        ask = "until wget -qO- http://web/hostname; do :; done"
        self.run(f"knarr run --rm --network demo busybox sh -c '{ask}'")
        print(paint("36", f"  $ curl http://{where}/hostname"), flush=True)
        with urllib.request.urlopen(f"http://{where}/hostname", timeout=PATIENCE) as answer:
            print(f"    {answer.read().decode().strip()}")
        self.run("knarr network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}} "
                 "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}' demo")  # fmt: skip
        print(
            "  A container that reaches its siblings, and no more of the world than it was allowed:"
        )
        ask = (
            "until wget -qO- http://web/hostname; do :; done; wget -qO- http://192.0.2.1 2>&1; true"
        )
        self.run("knarr run --rm --network demo --egress-allow example.org:443,10.1.0.0/16 "
                 f"busybox sh -c '{ask}'")  # fmt: skip
        self.run("knarr rm -f web")
        self.run("knarr network rm demo")

    def registry(self) -> None:
        """Serve a registry with rights; push to it, pull from it; try to move a tag that stays."""
        heading("A registry of one's own")
        from knarr.registryd.htpasswd import Crypt

        users, access = Path(self.run_root, "users"), Path(self.run_root, "access.toml")
        users.write_text(f"alice:{Crypt()('open sesame', '$2b$05$abcdefghijklmnopqrstuu')}\n")
        access.write_text('[repositories."team/*"]\npull = ["anonymous"]\npush = ["alice"]\n')
        self.run(f"cat {access}")
        line = "knarr registry serve --quiet --listen 127.0.0.1:0 --immutable --mutable-tag latest"
        line += f" --htpasswd {users} --access {access}"
        print(paint("36", f"  $ {line} &"), flush=True)
        serving = subprocess.Popen(shlex.split(line), stdout=subprocess.PIPE, text=True)
        try:
            assert serving.stdout is not None
            said = serving.stdout.readline().strip()
            print(f"    {said}")
            host = said.rpartition("/")[2]
            name = f"{host}/team/busybox:1.0"
            self.run(f"knarr tag busybox {name}")
            self.run(f"knarr push --quiet {name}", expect=1)
            login = f"knarr login -u alice --password-stdin {host}"
            self.run(login, stdin="open sesame\n")
            self.run(f"knarr push {name}")
            self.run(f"knarr rmi {name} busybox")
            self.run(f"knarr logout {host}")
            self.run(f"knarr pull {name}")
            self.run(f"knarr run --rm {name} echo from the registry")
            blobs = self.data_root / "content/blobs"
            self.run(f"find {blobs} -size +1000k -printf '%s bytes, %n names\\n'")
            print("    (two names: the tar that containers see is the layer as it is stored)")
            self.run(f"knarr tag {name} busybox")
            self.run(f"knarr tag debian:bookworm {name}")
            self.run(login, stdin="open sesame\n", show=False)
            self.run(f"knarr push --quiet {name}", expect=1)
            # Back to the image that was pulled under this name, whose digest goes with the tag.
            self.run(f"knarr tag busybox {name}", show=False)
            self.run(f"knarr rmi {name}")
            self.run("knarr registry gc --dry-run --grace 0")
            self.lazy(host)
        finally:
            serving.terminate()
            serving.communicate()
        shutil.rmtree(self.data_root / "registry", ignore_errors=True)

    def lazy(self, host: str) -> None:
        """Start a container of an image that is not here yet, where the kernel can do that."""
        saved, name = Path(self.run_root, "saved"), f"{host}/team/debian:1.0"
        self.run(f"knarr save --format oci-dir -o {saved} debian:bookworm", show=False)
        offer = [
            sys.executable,
            str(ROOT / "tools/demo_lazy.py"),
            str(saved),
            name,
            "alice:open sesame",
        ]
        subprocess.run(offer, check=True)
        shutil.rmtree(saved)
        try:
            self.run(f"knarr run --rm --pull lazy {name} perl -e 'print qq(said by perl\\n)'")
        except DemoError as error:
            if "layers that are still to come need" not in str(error):
                raise
            print(f"    {str(error).rpartition('knarr: ')[2].strip()}")
        else:
            here = self.data_root.glob("snapshots/l/*/coming/[0-9]*")
            came = sum(piece.stat().st_size for piece in here)
            print(f"    (of its files {came / 1e6:.0f} MB have come by now, the rest is coming)")
        self.run(f"knarr pull -q {name}")
        self.run(f"knarr rmi {name}")

    def runtimes(self) -> None:
        """Run a bundle with the runtime alone, and a container with a runtime that is named."""
        heading("An OCI runtime by itself: knarr-oci")
        bundle = Path(f"{self.run_root}/bundle")
        (bundle / "rootfs").mkdir(parents=True)
        program = Path(self.command).with_name("knarr-oci")
        oci = f"{program} --root {self.run_root}/oci"
        self.run("knarr create -q --name source busybox", show=False)
        self.run(f"knarr cp -q source:/bin {bundle}/rootfs/bin", show=False)
        self.run("knarr rm source", show=False)
        self.run(f"{program} spec --bundle {bundle}", show=False)
        file = bundle / "config.json"
        config = json.loads(file.read_text())
        config["process"] |= {"terminal": False, "args": ["sleep", "1000"]}
        config["process"].pop("rlimits", None)  # whatever they are here
        config["linux"]["cgroupsPath"] = "/knarr-demo/bundle"
        file.write_text(json.dumps(config))
        print(f"    (a bundle of busybox is in {bundle})")
        # Its standard streams are the container's, for as long as that lives.
        line = f"{oci} run --detach --bundle {bundle} one"
        print(paint("36", f"  $ {line}"), flush=True)
        self.run(f"sh -c '{line} >/dev/null 2>&1'", show=False)
        for words in ("list", "exec one echo a command in it", "pause one", "list -q", "resume one",
                      "delete --force one"):  # fmt: skip
            self.run(f"{oci} {words}")
        self.run(
            f"knarr run --rm --runtime {program} busybox echo made by the runtime that was named"
        )

    def warm_runtime(self) -> None:
        """Have a server carry out what engines ask of the runtime."""
        heading("The same runtime, warm: knarr-oci server")
        program = str(Path(self.command).with_name("knarr-oci"))
        bundle, place = f"{self.run_root}/bundle", Path(f"{self.run_root}/oci-server")
        os.environ["KNARR_OCI_SERVER"] = str(place)
        by_itself = self.life_of(program, bundle)
        print(paint("36", "  $ knarr-oci server &"), flush=True)
        server = subprocess.Popen([program, "server"], stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + PATIENCE
            while not (place / "command.sock").exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise DemoError("the server did not begin")
                time.sleep(0.01)
            served = self.life_of(program, bundle)
        finally:
            server.terminate()
            server.wait()
            del os.environ["KNARR_OCI_SERVER"]
        print(f"    create, start, delete: {by_itself:.1f} ms by itself, {served:.1f} ms with it")

    def life_of(self, program: str, bundle: str) -> float:
        """Return how long create, start and delete of a container take together: a median, ms."""
        oci = [program, "--root", f"{self.run_root}/oci"]
        null, found = subprocess.DEVNULL, []
        for _ in range(STARTS):
            began = time.perf_counter()
            for words in (["create", "--bundle", bundle], ["start"], ["delete", "--force"]):
                subprocess.run(
                    [*oci, *words, "one"],
                    stdin=null, stdout=null, stderr=null, check=True, timeout=PATIENCE,
                )  # fmt: skip
            found.append((time.perf_counter() - began) * 1000)
        return statistics.median(found)

    def upkeep(self) -> None:
        """Pin images in a lock file; tell what could go."""
        heading("What names stand for, and what is kept")
        lock = f"{self.run_root}/knarr.lock"
        self.run(f"knarr lock --local --lock-file {lock} busybox debian:bookworm")
        self.run(f"knarr run --rm --lock-file {lock} busybox echo as it was pinned")
        self.run(f"knarr run --rm --lock-file {lock} busybox:1 true", expect=125)
        self.run("knarr image prune --keep-last 1 --unused-for 7d --dry-run")
        self.run("knarr image verify")
        self.run("knarr run --name maker busybox touch /made")
        self.run("knarr commit maker made:1")
        self.run("knarr rm maker")
        self.run(f"knarr save --since busybox -o {self.run_root}/made.tar made:1")
        self.run("knarr rmi made:1")
        self.run(f"knarr load -q -i {self.run_root}/made.tar")
        self.run("knarr image diff busybox made:1")
        self.run("knarr rmi made:1")

    def library(self) -> None:
        """Use the library: a sandbox with files, a limit and usage."""
        heading("The same as a library")
        program = Path(__file__).with_name("demo_sandbox.py")
        for line in program.read_text().splitlines():
            if line and not line.startswith(("from __future__", '"""')):
                print(paint("36", f"    {line}"))
        print("  gives")
        done = self.run(shlex.join([sys.executable, str(program)]), show=False)
        for line in done.splitlines():
            print(f"    {line}")

    def speed(self) -> None:
        """Time the start of a container, by command and by library."""
        heading("How long a start takes")
        import knarr
        from knarr.engine.model import ContainerConfig

        words = [self.command, "run", "--rm", "--network", "none", "busybox", "true"]
        config = ContainerConfig(
            image="busybox", command=("true",), network="none", auto_remove=True
        )
        with knarr.Engine() as engine:
            commands = [seconds(lambda: subprocess.run(words, check=True)) for _ in range(STARTS)]
            calls = [seconds(lambda: engine.containers.run(config)) for _ in range(STARTS)]
        bare = [
            seconds(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True))
            for _ in range(STARTS)
        ]
        for name, times in (
            ("knarr run --rm --network none busybox true", commands),
            ("engine.containers.run(...) of the same", calls),
            ("for comparison: python -c '', no container", bare),
        ):
            print(f"    {name:48}{statistics.median(times) * 1e3:8.1f} ms")

    def close(self) -> None:
        """Remove containers, helper processes and the run root; the images stay in build/demo."""
        # Commands of their own process: none starts a server that would have to be ended again.
        os.environ["KNARR_SERVER"] = "off"
        listed = subprocess.run(
            [self.command, "ps", "-aq"], capture_output=True, text=True, check=False
        )
        for name in listed.stdout.split():
            subprocess.run([self.command, "rm", "-f", name], capture_output=True, check=False)
        oci = [str(Path(self.command).with_name("knarr-oci")), "--root", f"{self.run_root}/oci"]
        subprocess.run([*oci, "delete", "--force", "one"], capture_output=True, check=False)
        sys.path.insert(0, str(ROOT))
        from tests.support import leftovers

        # Supervisors that remove their containers by themselves may not be done.
        leftovers.settle(lambda: os.listdir(self.data_root / "snapshots" / "c"))
        # Layers stay mounted for the next container; this unmounts those that none needs.
        subprocess.run([self.command, "recover"], capture_output=True, check=False)
        for name in ("command.sock", "launcher.sock"):
            leftovers.end_server(f"{self.run_root}/{name}")
        leftovers.end_resolver(self.run_root)
        left = leftovers.settle(lambda: leftovers.processes(self.run_root))
        for folder in (str(self.data_root), str(self.run_root)):
            left += leftovers.mounts(folder)
        leftovers.remove_cgroups("/knarr-demo")
        shutil.rmtree(self.run_root, ignore_errors=True)
        if left:
            raise DemoError(f"left over: {'; '.join(left)}")
        print("\nNothing is left: no process, mount or control group. "
              "The images stay in build/demo for the next time.")  # fmt: skip


def seconds(act: object) -> float:
    """Return how long a call takes."""
    assert callable(act)
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def limits_of(pid: int) -> list[tuple[str, str]]:
    """Return (file, content) of the limits that hold for a process, v2 or v1."""
    wanted = {
        "memory": ("memory.max", "memory.limit_in_bytes"),
        "cpu": ("cpu.max", "cpu.cfs_quota_us"),
        "pids": ("pids.max",),
    }
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for folder in ("/sys/fs/cgroup", *(f"/sys/fs/cgroup/{c}" for c in controllers.split(","))):
            for files in wanted.values():
                for file in files:
                    limit = Path(folder + path, file)
                    if limit.is_file():
                        found.append((file, limit.read_text().strip()))
    return found


def show(demo: Demo) -> None:
    """Take all steps."""
    for step in (
        demo.images,
        demo.output,
        demo.namespaces,
        demo.identity,
        demo.explanation,
        demo.limits,
        demo.life,
        demo.health,
        demo.networks,
        demo.registry,
        demo.runtimes,
        demo.warm_runtime,
        demo.upkeep,
        demo.library,
        demo.speed,
    ):
        step()


def main() -> int:
    """Run all steps; clean up in any case."""
    if os.geteuid() != 0:
        print("demo: containers take root", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    command = Path(sys.executable).parent / "knarr"
    if not command.exists():
        print(f"demo: {command} is missing: run `make demo`", file=sys.stderr)
        return 1
    demo = Demo(str(command))
    problems: list[DemoError] = []
    try:
        try:
            show(demo)
        except DemoError as error:
            problems.append(error)
        finally:
            demo.close()
    except DemoError as error:
        problems.append(error)
    for problem in problems:
        print(f"demo: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(f"The demo took {time.monotonic() - started:.0f} seconds. To go on by hand:\n")
    path = shlex.quote(str(command.parent))
    print(f"    export KNARR_ROOT={shlex.quote(str(demo.data_root))} PATH={path}:$PATH")
    print("    knarr run -it --rm debian:bookworm bash")
    return 0


if __name__ == "__main__":
    sys.exit(main())
