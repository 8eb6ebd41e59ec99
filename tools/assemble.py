"""Assemble all of knarr's machine code from the folders with ``x86_64.S`` and ``aarch64.S``.

    python tools/assemble.py

What the package carries becomes ``blob_x86_64.py`` there; the thin command and what starts
knarr-oci become executables, ``client/client-x86_64`` and ``client/readonly/readonly-x86_64``.
Needs binutils, and binutils-aarch64-linux-gnu on another machine than that.
"""

import pathlib
import platform
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Folders whose machine code is an executable, with the folder's name.
EXECUTABLES = ("client", "client/readonly")
# Folder whose machine code the package carries -> what that is.
_PROGRAM = "src/knarr/runtime/program"
CARRIED = {
    "src/knarr/runtime/init": "knarr's init",
    "src/knarr/runtime/pages": "What gives memory back that is again as it was",
    _PROGRAM: "What carries out programs of system calls",
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


def assemble(folder: str, machine: str) -> bytes:
    """Return the machine code of a folder. Raises FileNotFoundError without the tools.

    The thin command has that of programs in it.
    """
    with tempfile.TemporaryDirectory() as directory:
        made, code = f"{directory}/code.o", f"{directory}/code"
        source = str(ROOT / folder / f"{machine}.S")
        if folder == "client":
            pathlib.Path(directory, "program").write_bytes(assemble(_PROGRAM, machine))
        subprocess.run([tool(machine, "as"), "-I", directory, "-o", made, source], check=True)
        subprocess.run(
            [tool(machine, "objcopy"), "-O", "binary", "-j", ".text", made, code], check=True
        )
        return pathlib.Path(code).read_bytes()


def carry(code: bytes, what: str, machine: str, target: pathlib.Path) -> None:
    """Write machine code down as a module."""
    text = code.hex()
    lines = [f'    "{text[at : at + 88]}"' for at in range(0, len(text), 88)]
    target.write_text(_MODULE.format(what=what, machine=machine, lines="\n".join(lines)))


def main() -> None:
    for machine in MACHINES:
        for folder, what in CARRIED.items():
            code = assemble(folder, machine)
            carry(code, what, machine, ROOT / folder / f"blob_{machine}.py")
            print(folder, machine, len(code), "bytes")
        for folder in EXECUTABLES:
            code = assemble(folder, machine)
            place = ROOT / folder
            executable = place / f"{place.name}-{machine}"
            executable.write_bytes(code)
            executable.chmod(0o755)
            print(folder, machine, len(code), "bytes")


if __name__ == "__main__":
    main()
