"""Steps on names and users: host name, loopback, who the process will be."""

from knarr.kernel.namespaces import setdomainname, sethostname
from knarr.kernel.net import loopback_up
from knarr.runtime.lookup import read_in_root
from knarr.runtime.steps.base import Context, Step
from knarr.runtime.users import ResolvedUser, resolve_user

_FILE_LIMIT = 4 * 1024 * 1024


class HostName(Step):
    """Set the host name and, where given, the domain name of the new UTS namespace."""

    __slots__ = ("domain", "host")

    def __init__(self, host: str, domain: str) -> None:
        self.host = host
        self.domain = domain

    def execute(self, context: Context) -> None:
        """See uts_namespaces(7)."""
        del context
        if self.host:
            sethostname(self.host)
        if self.domain:
            setdomainname(self.domain)

    def describe(self) -> str:
        """Return the step as one line of text."""
        return f"host name {self.host}" + (f", domain {self.domain}" if self.domain else "")


class Loopback(Step):
    """Set the loopback interface of the new network namespace up."""

    __slots__ = ()

    def execute(self, context: Context) -> None:
        """See netdevice(7)."""
        del context
        loopback_up()

    def describe(self) -> str:
        """Return the step as one line of text."""
        return "loopback up"


class User(Step):
    """Settle who the process is: ids as given, or a name looked up in the container's files."""

    __slots__ = ("gid", "gids", "name", "uid")

    def __init__(self, uid: int, gid: int, gids: "tuple[int, ...]", name: "str | None") -> None:
        self.uid = uid
        self.gid = gid
        self.gids = gids
        self.name = name

    def execute(self, context: Context) -> None:
        """The files are read below the root descriptor; no NSS module of the image runs."""
        if self.name is None:
            home = _home(context, self.uid) if "HOME" not in context.env else "/"
            context.user = ResolvedUser(self.uid, self.gid, self.gids, home)
        else:
            context.user = lookup(context, self.name, self.gids)
        context.env.setdefault("HOME", context.user.home)

    def describe(self) -> str:
        """Return the step as one line of text."""
        who = f"{self.uid}:{self.gid}" if self.name is None else (self.name or "root")
        return f"user {who}"


def lookup(context: Context, name: str, gids: "tuple[int, ...]" = ()) -> ResolvedUser:
    """Return who ``USER[:GROUP]`` is in this container; raises InvalidArgument."""
    passwd = read_in_root(context.root_fd, "/etc/passwd", _FILE_LIMIT)
    group = read_in_root(context.root_fd, "/etc/group", _FILE_LIMIT)
    return resolve_user(name, passwd, group, tuple(str(gid) for gid in gids))


def _home(context: Context, uid: int) -> str:
    passwd = read_in_root(context.root_fd, "/etc/passwd", _FILE_LIMIT)
    return resolve_user(str(uid), passwd, b"").home
