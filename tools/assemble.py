"""Assemble the machine code that the package carries, each ``x86_64.S`` into ``blob_x86_64.py``.

    python tools/assemble.py

Needs binutils, and binutils-aarch64-linux-gnu on another machine than that.
"""

import pathlib
import platform
import subprocess
import tempfile

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "src/knarr"
# Folder of the package -> what its machine code is.
ROOMS = {
    "runtime/init": "knarr's init",
    "runtime/program": "What carries out programs of system calls",
}
MACHINES = ("x86_64", "aarch64")
_MODULE = '''"""{what}, for {machine}.

Made from {machine}.S by tools/assemble.py.
"""

BLOB = bytes.fromhex(
{lines}
)
'''


def tool(machine: str, name: str) -> str:
    """Return the name of a binutils program for ``machine``."""
    return name if platform.machine() == machine else f"{machine}-linux-gnu-{name}"


def assemble(room: str, machine: str) -> bytes:
    """Return the machine code of a folder. Raises FileNotFoundError without the tools."""
    with tempfile.TemporaryDirectory() as directory:
        made, code = f"{directory}/code.o", f"{directory}/code"
        source = str(PACKAGE / room / f"{machine}.S")
        subprocess.run([tool(machine, "as"), "-o", made, source], check=True)
        subprocess.run(
            [tool(machine, "objcopy"), "-O", "binary", "-j", ".text", made, code], check=True
        )
        return pathlib.Path(code).read_bytes()


def main() -> None:
    for room, what in ROOMS.items():
        for machine in MACHINES:
            text = assemble(room, machine).hex()
            lines = [f'    "{text[at : at + 88]}"' for at in range(0, len(text), 88)]
            module = _MODULE.format(what=what, machine=machine, lines="\n".join(lines))
            (PACKAGE / room / f"blob_{machine}.py").write_text(module)
            print(room, machine, len(text) // 2, "bytes")


if __name__ == "__main__":
    main()
