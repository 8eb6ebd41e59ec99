"""``knarr registry serve``: a registry in the foreground."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING

from knarr.cli import human, values
from knarr.cli.caller import interrupt
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import DURATION, LIST, NUMBER, SWITCH, TEXT, Args, Flag
from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    import socket
    import ssl

    from knarr.registryd.quotas import Quotas
    from knarr.registryd.service import Options, Service
    from knarr.web.limits import Limits

_SECOND = 1_000_000_000
_LAST_REQUESTS = 10.0  # seconds for them after the signal to end
_DESCRIPTORS = 16384
_LEAST_CONNECTIONS, _MOST_CONNECTIONS = 8, 4096
_LISTEN = "127.0.0.1:5000"


def run(context: Context, args: Args) -> int:
    """Serve until a signal asks to end; requests under way are finished."""
    from knarr.registryd.service import Service
    from knarr.web import listening

    root = root_of(context, args)
    tls = _tls(args)
    addresses = [listening.address(text) for text in args.many("listen") or (_LISTEN,)]
    with ExitStack() as stack:
        listeners: list[socket.socket] = []
        for each in addresses:
            listeners.append(stack.enter_context(listening.listen(each)))
        service = stack.enter_context(
            Service(root, listeners, _options(args), tls=tls, limits=_limits(args))
        )
        _show_log(quiet=args.on("quiet"))
        _take_descriptors()
        if not all(each.loopback for each in addresses) and not (tls and args.text("htpasswd")):
            print(
                "WARNING: other machines reach this registry: it needs --tls-cert and --htpasswd",
                file=sys.stderr,
            )
        _end_on_signals(service)
        scheme = "https" if tls else "http"
        for name in service.addresses:
            shown = f"unix://{name}" if name.startswith("/") else f"{scheme}://{name}"
            print(human.visible(f"Serving {root} on {shown}"), flush=True)
        service.serve()
        service.close(_LAST_REQUESTS)
    return 0


def root_of(context: Context, args: Args) -> str:
    """Return the directory of the registry."""
    return os.path.abspath(args.text("root") or f"{context.settings.data_root}/registry")


def _tls(args: Args) -> ssl.SSLContext | None:
    from knarr.web import listening

    certificate, key = args.text("tls-cert"), args.text("tls-key")
    authority = args.text("client-ca")
    if certificate is None:
        if key or authority:
            raise InvalidArgument("--tls-key and --client-ca need --tls-cert")
        return None
    return listening.tls(certificate, key, authority)


def _options(args: Args) -> Options:
    from knarr.registryd.service import Options
    from knarr.registryd.tagrules import TagRules
    from knarr.registryd.upstreams import parse_all
    from knarr.registryd.webhooks import check

    immutable = (*args.many("immutable-tag"), *(("*",) if args.on("immutable") else ()))
    mutable = args.many("mutable-tag")
    if mutable and not immutable:
        raise InvalidArgument("--mutable-tag makes exceptions of --immutable or --immutable-tag")
    every = args.number("gc-every")
    if every is not None and every < _SECOND:
        raise InvalidArgument("--gc-every: at least one second")
    keep = args.number("proxy-keep")
    if keep is not None and (every is None or not args.many("proxy") or keep < _SECOND):
        raise InvalidArgument("--proxy-keep: a time, beside --proxy and --gc-every")
    htpasswd, access = args.text("htpasswd"), args.text("access")
    realm = args.text("token-realm")
    _check_login(args, htpasswd, access, realm)
    return Options(
        access=access,
        anybody_pulls=args.on("anonymous-pull"),
        tokens=args.on("tokens"),
        token_realm=realm,
        upstreams=parse_all(args.many("proxy")),
        quotas=_quotas(args),
        webhooks=tuple(map(check, args.many("webhook"))),
        keep_copies=None if keep is None else keep / _SECOND,
        rules=TagRules(immutable, mutable),
        htpasswd=htpasswd,
        read_only=args.on("read-only"),
        collect_every=None if every is None else every / _SECOND,
    )


def _limits(args: Args) -> Limits:
    """Return what clients may have. Raises InvalidArgument."""
    from knarr.web.limits import Limits

    wanted = args.number("max-connections")
    if wanted is None:
        return Limits()
    if not _LEAST_CONNECTIONS <= wanted <= _MOST_CONNECTIONS:
        raise InvalidArgument(
            f"--max-connections {wanted}: from {_LEAST_CONNECTIONS} to {_MOST_CONNECTIONS}"
        )
    return Limits(connections=wanted, of_one=wanted * 3 // 4)


def _check_login(args: Args, htpasswd: str | None, access: str | None, realm: str | None) -> None:
    """Raise InvalidArgument for flags of logging in that make no sense together."""
    given = {"access": access, "anonymous-pull": args.on("anonymous-pull"),
             "tokens": args.on("tokens"), "token-realm": realm}  # fmt: skip
    named = next((name for name, value in given.items() if value), None)
    if named and not htpasswd:
        raise InvalidArgument(f"--{named} needs --htpasswd")
    if access and args.on("anonymous-pull"):
        raise InvalidArgument(
            '--anonymous-pull: in the file of --access that is pull = ["anonymous"]'
        )
    if realm and ('"' in realm or not realm.startswith(("http://", "https://"))):
        raise InvalidArgument(f"--token-realm {realm}: want https://HOST/token")


def _quotas(args: Args) -> Quotas:
    """Return what --quota says. Raises InvalidArgument."""
    from knarr.registryd.quotas import Quota, Quotas

    found = []
    for text in args.many("quota"):
        pattern, _, size = text.rpartition("=")
        try:
            found.append(Quota(pattern or "*", values.size(size)))
        except ValueError as error:
            raise InvalidArgument(f"--quota {text}: {error}") from None
    return Quotas(tuple(found))


def _end_on_signals(service: Service) -> None:
    """Have the first signal end the service in order, and another one at once."""

    def end(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, interrupt)
        service.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _take_descriptors() -> None:
    """Have as many descriptors as is allowed: a connection needs up to three."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(_DESCRIPTORS, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _show_log(*, quiet: bool) -> None:
    """Print what the registry logs to stderr: each request, unless ``quiet``."""

    class Line(logging.Formatter):
        """One line for each record, whatever is in the names that it tells."""

        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
            return human.visible(super().formatMessage(record))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Line("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("knarr")
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


ROOT = Flag(
    "root", TEXT, "Where the registry keeps everything (default: registry below knarr's root)",
    metavar="path", example="--root /srv/registry",
)  # fmt: skip
COMMAND = Command(
    name="registry serve",
    summary="Serve a registry that images are pushed to and pulled from",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr registry serve",
         "Serve a registry for this machine: localhost:5000"),
        ("knarr registry serve --listen :443 --tls-cert site.pem --htpasswd users",
         "Serve one for others, with TLS and users"),
        ("knarr registry serve --htpasswd users --access access.toml",
         "Say what each of them may do in which repositories"),
        ("knarr registry serve --proxy docker.io --proxy ghcr.io",
         "Serve copies of others' images, too: localhost:5000/docker.io/library/busybox"),
        ("knarr registry serve --immutable --mutable-tag latest --gc-every 24h",
         "Serve one whose tags cannot move, but for latest, and which tidies up once a day"),
    ),
    flags=(
        Flag("access", TEXT, "What each user of --htpasswd may do, in which repositories: TOML, "
             "see docs/registry.md (default: everything)", metavar="file",
             example="--htpasswd users --access access.toml"),
        Flag("anonymous-pull", SWITCH, "Who has not logged in may pull everything",
             example="--htpasswd users --anonymous-pull"),
        Flag("client-ca", TEXT, "Serve only clients with a certificate of these authorities",
             metavar="file", example="--client-ca clients.pem"),
        Flag("gc-every", DURATION, "Collect garbage so often (default: never by itself)",
             example="--gc-every 24h"),
        Flag("htpasswd", TEXT, "Serve only users in this file, as 'htpasswd -B' makes it",
             metavar="file", example="--htpasswd users"),
        Flag("immutable", SWITCH, "No tag that was pushed can move or be deleted",
             example="--immutable"),
        Flag("immutable-tag", LIST, "The same for tags of a pattern, or for REPOSITORY:TAG",
             metavar="pattern", example="--immutable-tag 'v*' --immutable-tag 'base/*:*'"),
        Flag("listen", LIST, f"Where to listen: HOST:PORT or unix:///PATH (default {_LISTEN})",
             metavar="address", example="--listen :5000"),
        Flag("max-connections", NUMBER, "Connections at a time (default 512), three quarters of "
             "them from one address; more of them wait", example="--max-connections 2000"),
        Flag("mutable-tag", LIST, "Tags that may move all the same", metavar="pattern",
             example="--immutable --mutable-tag latest"),
        Flag("proxy", LIST, "Serve copies of this registry's images, fetched when asked for, as "
             "HOST/... or NAME/...", metavar="[NAME=]HOST",
             example="--proxy docker.io --proxy gh=ghcr.io"),
        Flag("proxy-keep", DURATION, "With --gc-every: delete copies that nobody asked for in so "
             "long (default: never)", example="--proxy docker.io --gc-every 24h --proxy-keep 720h"),
        Flag("quota", LIST, "Not more than so many bytes may be pushed, in all or to repositories "
             "of a pattern", metavar="[PATTERN=]SIZE",
             example="--quota 200g --quota 'team/*=20g'"),
        Flag("quiet", SWITCH, "Log only what goes wrong", short="q", example="-q"),
        Flag("read-only", SWITCH, "Nothing can be pushed or deleted", example="--read-only"),
        ROOT,
        Flag("tls-cert", TEXT, "Serve HTTPS with this certificate and its chain", metavar="file",
             example="--tls-cert site.crt --tls-key site.key"),
        Flag("tls-key", TEXT, "Its key, when that is in a file of its own", metavar="file",
             example="--tls-cert site.crt --tls-key site.key"),
        Flag("token-realm", TEXT, "Where clients get tokens: this server's /token as they reach "
             "it through a proxy (default: by the name that they ask for)", metavar="url",
             example="--token-realm https://registry.example.org/token"),
        Flag("tokens", SWITCH, "Clients log in for tokens of five minutes; always with --access "
             "and --anonymous-pull", example="--htpasswd users --tokens"),
        Flag("webhook", LIST, "Tell this address of pushed, pulled and deleted images",
             metavar="url", example="--webhook http://127.0.0.1:8080/events"),
    ),
    arguments=(0, 0),
    details="""\
It is a whole registry by the OCI distribution specification: any client pushes
to it and pulls from it. Each request is a line on standard error.

SIGTERM and Ctrl-C end it; requests under way have ten seconds. Pushes that
were cut off go on after it has been started again. What is deleted frees its
room with the next 'knarr registry gc', or with --gc-every.""",
)  # fmt: skip
