"""Assemble knarr's init into ``src/knarr/runtime/init/blob_*.py``.

    python tools/assemble_init.py

Needs binutils, and binutils-aarch64-linux-gnu on another machine than that.
"""

import pathlib
import platform
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1] / "src/knarr/runtime/init"
MACHINES = ("x86_64", "aarch64")
_MODULE = '''"""knarr's init for {machine}, assembled from {machine}.S by tools/assemble_init.py."""

BLOB = bytes.fromhex(
{lines}
)
'''


def tool(machine: str, name: str) -> str:
    """Return the name of a binutils program for ``machine``."""
    return name if platform.machine() == machine else f"{machine}-linux-gnu-{name}"


def assemble(machine: str) -> bytes:
    """Return the executable. Raises FileNotFoundError without the tools."""
    with tempfile.TemporaryDirectory() as directory:
        made, executable = f"{directory}/init.o", f"{directory}/init"
        source = str(ROOT / f"{machine}.S")
        subprocess.run([tool(machine, "as"), "-o", made, source], check=True)
        subprocess.run(
            [tool(machine, "objcopy"), "-O", "binary", "-j", ".text", made, executable], check=True
        )
        return pathlib.Path(executable).read_bytes()


def main() -> None:
    for machine in MACHINES:
        text = assemble(machine).hex()
        lines = [f'    "{text[at : at + 88]}"' for at in range(0, len(text), 88)]
        module = _MODULE.format(machine=machine, lines="\n".join(lines))
        (ROOT / f"blob_{machine}.py").write_text(module)
        print(machine, len(text) // 2, "bytes")


if __name__ == "__main__":
    main()
