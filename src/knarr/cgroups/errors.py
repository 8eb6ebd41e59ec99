"""The one exception of this room."""


class UnsupportedResource(ValueError):
    """This machine cannot apply one field of ``linux.resources``.

    ``field`` is its place, such as ``memory.swap``: a caller may warn, drop it and go on.
    """

    field: str

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
