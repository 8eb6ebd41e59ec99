"""``knarr login``: credentials for a registry, checked and kept where Docker keeps them."""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from knarr.cli import human, terminal
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.exitcodes import CommandError
from knarr.cli.flags import SWITCH, TEXT, Args, Flag
from knarr.errors import KnarrError, Unauthorized

if TYPE_CHECKING:
    from knarr.registry.credentials import Credential, Credentials

_HUB = "docker.io"
_PLAIN = """
WARNING! Your credentials are stored unencrypted in '{}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/

"""
_STDIN = "-"
_SECRET_LIMIT = 1024 * 1024


def run(context: Context, args: Args) -> int:
    """Print ``Login Succeeded``; the credentials are kept only then."""
    del context
    from knarr.registry import names
    from knarr.registry.credentials import Credentials

    user, password = _check(args)
    warn_of_variable()
    server = names.hostname_of(args.rest[0]) if args.rest else _HUB
    host = _HUB if names.is_hub(server) else names.check(server)
    kept = Credentials(os.environ)
    if not user and not password:
        stored = kept.get(host)
        if stored.username and stored.password and _again(host, stored, kept):
            return 0
        user = stored.username
    _log_in(host, _ask(args, user, password, host), kept)
    return 0


def warn_of_variable() -> None:
    """Say that DOCKER_AUTH_CONFIG wins over what is kept."""
    if os.environ.get("DOCKER_AUTH_CONFIG"):
        print(
            "WARNING: DOCKER_AUTH_CONFIG is set and takes precedence.\n"
            "Unset DOCKER_AUTH_CONFIG to restore the CLI auth behaviour.\n",
            file=sys.stderr,
        )


def _check(args: Args) -> tuple[str, str]:
    """Return the name and the password that the command line gives. Raises CommandError."""
    user, password = args.text("username") or "", args.text("password") or ""
    from_stdin = args.on("password-stdin") or password == _STDIN
    if "username" in args.given and not user:
        raise CommandError("username is empty")
    if "password" in args.given and not password:
        raise CommandError("password is empty")
    if not from_stdin:
        if password:
            print(
                "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
                file=sys.stderr,
            )
        return user, password
    if "password" in args.given and password != _STDIN:
        raise CommandError(
            "conflicting options: cannot specify both --password and --password-stdin"
        )
    if not user:
        raise CommandError("the --password-stdin option requires --username to be set")
    with os.fdopen(os.dup(0), "rb") as stream:
        secret = stream.read(_SECRET_LIMIT).decode(errors="surrogateescape")
    for end in ("\r\n", "\n", "\r"):
        if secret.endswith(end):
            secret = secret.removesuffix(end)
            break
    if not secret.strip():
        raise CommandError("password is empty")
    return user, secret


def _again(host: str, stored: Credential, kept: Credentials) -> bool:
    """Log in with what is kept and return whether that went well."""
    shown = f" [Username: {human.visible(stored.username)}]"
    print(f"Authenticating with existing credentials...{shown}\n", file=sys.stderr)
    print(
        "To login with a different account, run 'knarr logout' followed by 'knarr login'\n",
        file=sys.stderr,
    )
    try:
        _log_in(host, stored, kept)
    except Unauthorized:
        print("Stored credentials invalid or expired", file=sys.stderr)
        return False
    except KnarrError as error:
        print(f"Login did not succeed, error: {human.visible(str(error))}", file=sys.stderr)
        return False
    return True


def _ask(args: Args, user: str, password: str, host: str) -> Credential:
    from knarr.registry.credentials import Credential

    complete = bool("username" in args.given and password)
    if not complete and not terminal.is_terminal(0):
        raise CommandError("cannot perform an interactive login from a non-TTY device")
    if "username" not in args.given:
        if host == _HUB:
            print(
                "Log in with your Docker ID or email address to push and pull images from"
                " Docker Hub."
            )
        print(f"Username ({user}): " if user else "Username: ", end="", flush=True)
        user = sys.stdin.readline().strip() or user
        if not user:
            raise CommandError("error: username is required")
    if not password:
        with _unseen(0):
            print("Password: ", end="", flush=True)
            password = sys.stdin.readline().rstrip("\r\n")
        print()
        if not password:
            raise CommandError("error: password is required")
    return Credential(user, password)


@contextmanager
def _unseen(fd: int) -> Iterator[None]:
    """Show nothing that is typed on terminal ``fd`` while the block runs."""
    before = termios.tcgetattr(fd)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(fd, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


def _log_in(host: str, credential: Credential, kept: Credentials) -> None:
    from knarr.registry.credentials import Credential
    from knarr.registry.repository import Registry

    with Registry(host, credentials=kept) as registry:
        token = registry.login(credential)
    if token:
        credential = Credential(credential.username, identity_token=token)
    plain = kept.store(host, credential)
    if plain:
        print(_PLAIN.format(human.visible(plain)), end="", file=sys.stderr)
    print("Login Succeeded")


COMMAND = Command(
    name="login",
    summary="Authenticate to a registry",
    usage=("[OPTIONS] [SERVER]",),
    run=run,
    examples=(
        ("knarr login ghcr.io",
         "Log in to a registry, asked for name and password"),
        ("knarr login -u robot --password-stdin registry.example.org",
         "Log in with a password from standard input"),
    ),
    flags=(
        Flag("password", TEXT, 'Password or access token, or "-" to read it from stdin', short="p",
             example="-p -"),
        Flag("password-stdin", SWITCH, "Take the password or access token from stdin",
             example="--password-stdin"),
        Flag("username", TEXT, "Username", short="u", example="-u robot"),
    ),
    arguments=(0, 1),
    details="""\
Without a server it is Docker Hub. The credentials are kept in Docker's config.json, or with
the credential helper that it names, and so are good for Docker as well.""",
)  # fmt: skip
