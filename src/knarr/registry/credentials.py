"""Who we are to a registry: Docker's config.json, its helpers, and Podman's auth.json.

Looked at in this order: DOCKER_AUTH_CONFIG, the helper that config.json names for the registry
(``credHelpers``), its general one (``credsStore``), its ``auths``; then Podman's files, whose
keys may go as deep as a repository. A login is kept where Docker would keep it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from knarr.errors import InvalidArgument
from knarr.registry import helpers, names
from knarr.registry.helpers import TOKEN_USER

_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Credential:
    """What proves who we are: a name and password, or a token; never shown by ``repr``.

    identity_token is exchanged for access tokens; registry_token is one already.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def is_empty(self) -> bool:
        """Whether it proves nothing."""
        return not (self.password or self.identity_token or self.registry_token)


class Credentials:
    """The credentials of the user whose environment this is; files are read at each use."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        folder = environ.get("DOCKER_CONFIG") or os.path.join(_home(environ), ".docker")
        self.path = os.path.join(folder, "config.json")

    def get(self, host: str, repository: str = "") -> Credential:
        """Return the credentials for a registry, empty ones when there are none.

        Raises InvalidArgument for a file that cannot be understood, Unavailable for a helper
        that fails, OSError.
        """
        key = names.credentials_key(host)
        from_variable = self._environ.get("DOCKER_AUTH_CONFIG")
        if from_variable:
            found = _lookup(_parse(from_variable.encode(), "DOCKER_AUTH_CONFIG"), key)
            if not found.is_empty:
                return found
        config = self.config()
        helper = _helper(config, key)
        if helper:
            name, secret = helpers.get(helper, key, self._environ)
            if secret:
                return (
                    Credential(identity_token=secret)
                    if name == TOKEN_USER
                    else Credential(name, secret)
                )
        found = _lookup(config, key)
        return self._of_podman(host, repository) if found.is_empty else found

    def config(self) -> dict[str, Any]:
        """Return config.json as it is, an empty one where there is none."""
        return _read(self.path)

    def headers(self) -> dict[str, str]:
        """Return the headers of config.json that go to registries, as with Docker: X-Meta-*."""
        found = self.config().get("HttpHeaders")
        if not isinstance(found, dict):
            return {}
        return {
            str(name): str(value)
            for name, value in found.items()
            if str(name).lower().startswith("x-meta-")
        }

    def proxies(self) -> dict[str, str]:
        """Return the section ``proxies.default`` of config.json."""
        found = self.config().get("proxies")
        default = found.get("default") if isinstance(found, dict) else None
        return default if isinstance(default, dict) else {}

    def store(self, host: str, credential: Credential) -> str:
        """Keep credentials after a login; return the file when they stand in it in plain words.

        Raises Unavailable from a helper, InvalidArgument, OSError.
        """
        key = names.credentials_key(host)
        config = self.config()
        helper = _helper(config, key)
        name = TOKEN_USER if credential.identity_token else credential.username
        secret = credential.identity_token or credential.password
        if helper:
            helpers.store(helper, key, name, secret, self._environ)
            return ""
        pair = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
        entry = {"auth": pair}
        if credential.identity_token:
            entry["identitytoken"] = credential.identity_token
        auths = _auths(config, self.path)
        if auths.get(key) == entry:
            return ""
        config["auths"] = {**auths, key: entry}
        self._save(config)
        return self.path if credential.password else ""

    def erase(self, host: str) -> None:
        """Forget what is kept for a registry, under all its spellings; errors as ``store``."""
        key = names.credentials_key(host)
        config = self.config()
        helper = _helper(config, key)
        if helper:
            helpers.erase(helper, key, self._environ)
        auths = _auths(config, self.path)
        left = {
            name: value
            for name, value in auths.items()
            if name != key and (names.is_hub(host) or names.hostname_of(name) != host)
        }
        if left != auths:
            config["auths"] = left
            self._save(config)

    def _of_podman(self, host: str, repository: str) -> Credential:
        for path in self._podman_files():
            auths = _auths(_read(path), path)
            for key in _from_deep(host, repository):
                if key in auths:
                    return _credential(auths[key], key)
        return Credential()

    def _podman_files(self) -> Iterator[str]:
        named = self._environ.get("REGISTRY_AUTH_FILE")
        if named:
            yield named
            return
        runtime = self._environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.geteuid()}"
        yield os.path.join(runtime, "containers/auth.json")
        if not self._environ.get("XDG_RUNTIME_DIR"):
            yield os.path.join(runtime, "auth.json")
        config = self._environ.get("XDG_CONFIG_HOME") or os.path.join(
            _home(self._environ), ".config"
        )
        yield os.path.join(config, "containers/auth.json")

    def _save(self, config: dict[str, Any]) -> None:
        """Replace config.json at once, readable by its owner alone; a symlink stays one."""
        target = os.path.realpath(self.path)
        folder = os.path.dirname(target)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        temporary = os.path.join(folder, f".config.json.{secrets.token_hex(4)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with open(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump(config, file, indent="\t", ensure_ascii=False)
                file.flush()
                if os.path.exists(target):
                    os.fchmod(file.fileno(), stat.S_IMODE(os.stat(target).st_mode))
                os.fsync(file.fileno())
            os.rename(temporary, target)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _from_deep(host: str, repository: str) -> Iterator[str]:
    """Yield ``host/a/b``, ``host/a``, ``host``: Podman's keys, the most specific first."""
    parts = repository.split("/") if repository else []
    for count in range(len(parts), -1, -1):
        yield "/".join((host, *parts[:count]))


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError:
        return {}  # another user's, as with sudo: then there are none for us
    return _parse(data, path)


def _parse(data: bytes, what: str) -> dict[str, Any]:
    if len(data) > _LIMIT:
        # Not as if it were empty: a login would write it anew.
        raise InvalidArgument(f"{what} is larger than {_LIMIT} bytes")
    try:
        value = json.loads(data) if data.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what} is no JSON object")
    return value


def _helper(config: dict[str, Any], key: str) -> str:
    table = config.get("credHelpers")
    if isinstance(table, dict):
        for name in (key, names.hostname_of(key)):
            if table.get(name):
                return str(table[name])
    return str(config.get("credsStore") or "")


def _auths(config: dict[str, Any], what: str) -> dict[str, Any]:
    found = config.get("auths") or {}
    if not isinstance(found, dict):
        raise InvalidArgument(f"{what}: auths is no object")
    return found


def _lookup(config: dict[str, Any], key: str) -> Credential:
    auths = _auths(config, "config.json")
    if key in auths:
        return _credential(auths[key], key)
    for name in auths:  # what old releases wrote: with scheme and path
        if names.hostname_of(name) == key:
            return _credential(auths[name], name)
    return Credential()


def _credential(entry: Any, key: str) -> Credential:
    if not isinstance(entry, dict):
        raise InvalidArgument(f"credentials for {key} are no object")
    username = str(entry.get("username") or "")
    password = str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidArgument(f"credentials for {key}: auth is no base64") from None
        username, _, password = pair.partition(":")
        password = password.rstrip("\0")  # padding of very old releases
    return Credential(
        username,
        password,
        str(entry.get("identitytoken") or ""),
        str(entry.get("registrytoken") or ""),
    )
