"""The one tree of exceptions that knarr raises.

    KnarrError
     ├─ InvalidArgument      a value the caller gave is wrong            HTTP 400
     │   ├─ InvalidArchive   a tar, layer or layout that must not be used
     │   └─ UnknownUser      the container has no such user or group     exec: exit 126
     ├─ Unauthorized         credentials are missing                     HTTP 401
     ├─ Forbidden            the kernel or a policy says no              HTTP 403
     │   ├─ NotExecutable    the command cannot be run, or not there     exit 126
     │   └─ RefusedByPolicy  an administrator's rule forbids it          exit 125
     ├─ NotFound             the named object does not exist             HTTP 404
     │   ├─ CommandNotFound  the command is not in the container         exit 127
     │   └─ PlatformNotFound the image is for other platforms
     ├─ Conflict             a name in use, a state that does not allow  HTTP 409
     ├─ NotModified          it already is as asked                      HTTP 304
     ├─ Unsupported          this machine or this release cannot do it   HTTP 501
     ├─ Unavailable          a helper process or registry does not answer HTTP 503
     ├─ Timeout              the time given has passed                   HTTP 504
     ├─ ResourceExhausted    disk, pids, memory or ids ran out           HTTP 507
     ├─ BuildFailed          a build step ended with an error            HTTP 500
     └─ Internal             a defect of knarr itself                    HTTP 500

Every message is one line, names the object, and says what to do where
that is known. The mapping to HTTP status and to exit codes is made once, in
``api`` and in ``cli``; lower rooms raise plain OSError and the engine
translates it.
"""


class KnarrError(Exception):
    """Base of all errors that knarr raises on purpose."""


class InvalidArgument(KnarrError):
    """A value the caller gave is malformed or out of range."""


class InvalidArchive(InvalidArgument):
    """An archive, layer or image layout is corrupt or hostile; nothing of it was kept."""


class UnknownUser(InvalidArgument):
    """The user or group that a command was to run as is not one of the container."""


class Unauthorized(KnarrError):
    """Credentials are missing or were refused."""


class Forbidden(KnarrError):
    """The kernel or a policy does not allow it."""


class NotExecutable(Forbidden):
    """The command cannot be executed, or its working directory cannot be entered."""


class RefusedByPolicy(Forbidden):
    """A rule of a policy file forbids it; file and rule name them.

    rule is "" where the file itself cannot be trusted, read or understood: then nothing is allowed.
    """

    def __init__(self, file: str, rule: str, reason: str) -> None:
        said = f"refused by policy {file}, {rule}: {reason}" if rule else f"policy {file} {reason}"
        super().__init__(said)
        self.file = file
        self.rule = rule


class NotFound(KnarrError):
    """The named object does not exist."""


class CommandNotFound(NotFound):
    """The command was not found in the container."""


class PlatformNotFound(NotFound):
    """The image is there, but not for the platform that was asked for."""


class Conflict(KnarrError):
    """A name is in use, or the object's state does not allow the request."""


class NotModified(KnarrError):
    """The object already is in the state asked for."""


class Unsupported(KnarrError):
    """This machine, or this release of knarr, cannot do what was asked."""


class Unavailable(KnarrError):
    """A helper process or a remote service does not answer."""


class Timeout(KnarrError):
    """The time given has passed."""


class ResourceExhausted(KnarrError):
    """Disk, process ids, memory, id ranges or addresses ran out."""


class BuildFailed(KnarrError):
    """A build step ended with an error."""


class Internal(KnarrError):
    """Something that cannot happen did: a defect of knarr."""
