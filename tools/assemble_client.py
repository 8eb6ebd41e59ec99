"""Assemble the native clients, ``client/client-*``, from ``client/*.S``.

    python tools/assemble_client.py

Needs binutils, and binutils-aarch64-linux-gnu on another machine than that.
"""

import pathlib
import platform
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1] / "client"
MACHINES = ("x86_64", "aarch64")


def tool(machine: str, name: str) -> str:
    """Return the name of a binutils program for ``machine``."""
    return name if platform.machine() == machine else f"{machine}-linux-gnu-{name}"


def assemble(machine: str) -> bytes:
    """Return the executable. Raises FileNotFoundError without the tools."""
    with tempfile.TemporaryDirectory() as directory:
        made, executable = f"{directory}/client.o", f"{directory}/client"
        source = str(ROOT / f"{machine}.S")
        subprocess.run([tool(machine, "as"), "-o", made, source], check=True)
        subprocess.run(
            [tool(machine, "objcopy"), "-O", "binary", "-j", ".text", made, executable], check=True
        )
        return pathlib.Path(executable).read_bytes()


def main() -> None:
    for machine in MACHINES:
        target = ROOT / f"client-{machine}"
        target.write_bytes(assemble(machine))
        target.chmod(0o755)
        print(target.name, target.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
