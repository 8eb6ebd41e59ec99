"""How a container that could not be made is reported from the child to its parent."""


class RuntimeFailure(Exception):
    """A step of making a container failed.

    kind: ``not-found`` (the command is not in the container, exit code 127),
    ``not-executable`` (126), ``directory`` (its working directory cannot be entered)
    or ``error`` (125). step: what was being done. errno: of the system call, or 0.
    """

    def __init__(self, kind: str, step: str, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.step = step
        self.message = message
        self.errno = errno

    def to_dict(self) -> "dict[str, object]":
        """Return the failure as a JSON object."""
        return {
            "kind": self.kind,
            "step": self.step,
            "message": self.message,
            "errno": self.errno,
        }

    @classmethod
    def from_dict(cls, value: "dict[str, object]") -> "RuntimeFailure":
        """Return the failure that ``to_dict`` described."""
        errno = value.get("errno", 0)
        return cls(
            str(value.get("kind", "error")),
            str(value.get("step", "")),
            str(value.get("message", "")),
            errno if isinstance(errno, int) else 0,
        )
