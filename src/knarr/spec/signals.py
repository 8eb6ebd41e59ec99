"""Signal names as users write them (signal(7)): "SIGTERM", "term", "15", "RTMIN+3".

The numbers are those of every architecture knarr runs on (x86, Arm, RISC-V,
s390x); they are written down here since ``signal`` imports ``enum``, which the
start path does not load.
"""

RTMIN = 34  # the C library keeps 32 and 33 for itself
RTMAX = 64

NUMBERS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "ILL": 4,
    "TRAP": 5,
    "ABRT": 6,
    "IOT": 6,
    "BUS": 7,
    "FPE": 8,
    "KILL": 9,
    "USR1": 10,
    "SEGV": 11,
    "USR2": 12,
    "PIPE": 13,
    "ALRM": 14,
    "TERM": 15,
    "STKFLT": 16,
    "CHLD": 17,
    "CLD": 17,
    "CONT": 18,
    "STOP": 19,
    "TSTP": 20,
    "TTIN": 21,
    "TTOU": 22,
    "URG": 23,
    "XCPU": 24,
    "XFSZ": 25,
    "VTALRM": 26,
    "PROF": 27,
    "WINCH": 28,
    "IO": 29,
    "POLL": 29,
    "PWR": 30,
    "SYS": 31,
    "UNUSED": 31,
}

_ALIASES = ("IOT", "CLD", "POLL", "UNUSED")
_NAMES = {number: name for name, number in NUMBERS.items() if name not in _ALIASES}


def parse(signal: "str | int") -> int:
    """Return the number of ``signal``: a number from 1 to 64 or a name.

    Names are taken in any case, with or without ``SIG``; real-time signals
    as ``RTMIN``, ``RTMIN+n``, ``RTMAX-n``, ``RTMAX``. Raises ValueError
    ("invalid signal: X") for anything else.
    """
    text = str(signal).strip()
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) <= 4 else 0
    else:
        name = text.upper()
        name = name.removeprefix("SIG")
        number = NUMBERS.get(name) or _real_time(name)
    if not 1 <= number <= RTMAX:
        raise ValueError(f"invalid signal: {signal}")
    return number


def _real_time(name: str) -> int:
    """Return the number of a real-time signal's name, 0 when it is none."""
    for prefix, base, sign in (("RTMIN", RTMIN, "+"), ("RTMAX", RTMAX, "-")):
        if name == prefix:
            return base
        head, found, digits = name.partition(sign)
        if found and head == prefix and digits.isascii() and digits.isdigit() and len(digits) <= 2:
            number = base + int(sign + digits)
            return number if RTMIN <= number <= RTMAX else 0
    return 0


def name(number: int) -> str:
    """Return the name of a signal number ("SIGTERM", "SIGRTMIN+3").

    Raises ValueError when no signal has that number.
    """
    known = _NAMES.get(number)
    if known is not None:
        return "SIG" + known
    if number == RTMIN:
        return "SIGRTMIN"
    if number == RTMAX:
        return "SIGRTMAX"
    if RTMIN < number < RTMAX:
        return f"SIGRTMIN+{number - RTMIN}"
    raise ValueError(f"invalid signal: {number}")
