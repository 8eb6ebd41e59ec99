"""What this room raises beside the errors of the interpreter."""


class UnsupportedResource(ValueError):
    """This machine cannot apply one field of ``linux.resources``.

    ``field`` is its place, such as ``memory.swap``: a caller may warn, drop it and go on.
    """

    field: str

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


class RefusedLimit(OSError):
    """The kernel does not take a value of ``linux.resources``; the text names its field."""
