"""Write the tables in ``src/knarr/runtime/seccomp/syscalls`` from the kernel's own headers.

    python tools/generate_syscalls.py x86_64 /usr/include/x86_64-linux-gnu
    python tools/generate_syscalls.py aarch64 /usr/aarch64-linux-gnu/include

The argument is a directory that holds ``asm/unistd.h`` of that architecture (as the
packages linux-libc-dev and linux-libc-dev-*-cross install it). What headers of a kernel
older than ours lack is added from NEWER: since 5.1 a new call has one number everywhere.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1] / "src/knarr/runtime/seccomp/syscalls"

# Macros that the compiler of the architecture would set.
TARGETS = {
    "x86_64": ["-D__x86_64__", "-D__BITS_PER_LONG=64"],
    "x86": ["-D__i386__", "-D__BITS_PER_LONG=32"],
    "x32": ["-D__x86_64__", "-D__ILP32__", "-D__BITS_PER_LONG=64"],
    "aarch64": ["-D__aarch64__", "-D__BITS_PER_LONG=64"],
    "arm": ["-D__arm__", "-D__ARM_EABI__", "-D__BITS_PER_LONG=32"],
}

NEWER = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
    "listns": 470,
    "rseq_slice_yield": 471,
}
# Calls of one architecture alone that the 6.1 headers lack.
OWN = {
    "x86_64": {"uretprobe": 335, "uprobe": 336},
    "x32": {"uretprobe": 335, "uprobe": 336},
    "arm": {
        "breakpoint": 0xF0001,
        "cacheflush": 0xF0002,
        "usr26": 0xF0003,
        "usr32": 0xF0004,
        "set_tls": 0xF0005,
        "get_tls": 0xF0006,
    },
}
X32_BIT = 0x40000000
_HEADER = '''"""System call numbers of {arch}, as in the kernel's headers.

Written by tools/generate_syscalls.py: change that, not this.
"""

NUMBERS = {{
{lines}
}}
'''


def preprocess(arguments: list[str], text: str) -> str:
    """Return what the C preprocessor makes of ``text``."""
    command = ["cc", "-E", "-P", "-undef", "-nostdinc", *arguments, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def numbers(arch: str, include: str) -> dict[str, int]:
    """Return name -> number for one architecture."""
    arguments = [*TARGETS[arch], "-I", include, "-I", f"{include}/../", "-I", "/usr/include"]
    source = "#include <asm/unistd.h>\n"
    macros = preprocess(["-dM", *arguments], source)
    names = sorted(set(re.findall(r"^#define __NR_([a-z]\w*|_\w+) ", macros, re.M)))
    names = [name for name in names if not name.startswith(("syscalls", "arch_specific"))]
    expanded = preprocess(arguments, source + "\n".join(f'"{n}" __NR_{n}' for n in names))
    result = {}
    for name, value in re.findall(r'^"(\w+)" ([0-9xa-fA-FU() +]+)$', expanded, re.M):
        result[name] = eval(value.replace("U", ""), {"__builtins__": {}})
    bit = X32_BIT if arch == "x32" else 0
    for name, number in {**NEWER, **OWN.get(arch, {})}.items():
        result.setdefault(name, number | bit)
    return result


def main() -> None:
    arch, include = sys.argv[1:]
    table = sorted(numbers(arch, include).items(), key=lambda item: (item[1], item[0]))
    lines = "\n".join(f'    "{name}": {number},' for name, number in table)
    (ROOT / f"{arch}.py").write_text(_HEADER.format(arch=arch, lines=lines))
    print(arch, len(table), table[-1])


if __name__ == "__main__":
    main()
