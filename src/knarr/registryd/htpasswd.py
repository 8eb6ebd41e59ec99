"""Users from a file as htpasswd(1) writes it: ``htpasswd -B FILE USER``.

Passwords are checked by crypt(3) of the C library (libcrypt: bcrypt, yescrypt, SHA-512), which
every distribution has; Python's own module for it is gone since 3.13. A check is slow on purpose:
which passwords were right is remembered, as a keyed hash, until the file changes.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import ctypes.util
import hashlib
import hmac
import os
import re
import secrets
import threading

from knarr.errors import InvalidArgument, Unsupported

_HASH = re.compile(r"\$(?:2[aby]|5|6|y|7)\$")
_ROOM = 256 * 1024  # more than struct crypt_data has in any library
_AT_ONCE = 2  # checks: whoever guesses must not have all processors
_MOST_REMEMBERED = 1000


class Crypt:
    """crypt_r(3) of the C library."""

    def __init__(self) -> None:
        """Raises Unsupported where there is none that knows bcrypt."""
        library = None
        for name in ("libcrypt.so.1", "libcrypt.so.2", ctypes.util.find_library("crypt"), None):
            try:
                library = ctypes.CDLL(name)
                self._call = library.crypt_r
                break
            except (OSError, AttributeError):
                continue
        else:
            raise Unsupported("htpasswd: there is no libcrypt here (Debian: libcrypt1)")
        self._call.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        self._call.restype = ctypes.c_char_p
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        if not self("x", "$2b$04$abcdefghijklmnopqrstuu").startswith("$2b$04$"):
            raise Unsupported("htpasswd: the C library's crypt(3) does not know bcrypt")

    def __call__(self, password: str, setting: str) -> str:
        """Return the hash of a password with the salt of a hash, "" for one that is none."""
        room = ctypes.create_string_buffer(_ROOM)
        with self._slots:
            found = self._call(password.encode(), setting.encode(), room)
        return "" if found is None else found.decode("ascii", "replace")


class Users:
    """The users of one file, read anew when it changes."""

    def __init__(self, path: str) -> None:
        """Raises InvalidArgument for a file that cannot be read or understood, Unsupported."""
        self._path = path
        self._crypt = Crypt()
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()
        self._stamp: tuple[int, int, int] | None = None
        self._hashes: dict[str, str] = {}
        self._read()

    def _read(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                info = os.fstat(file.fileno())
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InvalidArgument(f"htpasswd file {self._path}: {reason}") from None
        hashes: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            user, colon, hashed = line.strip().partition(":")
            if not colon or not user or _HASH.match(hashed) is None:
                raise InvalidArgument(
                    f"htpasswd file {self._path}, line {number}: want USER:HASH with bcrypt "
                    "(htpasswd -B), SHA-512 or yescrypt"
                )
            hashes[user] = hashed
        self._hashes, self._right = hashes, set()
        self._stamp = (info.st_mtime_ns, info.st_ino, info.st_size)

    def _refresh(self) -> None:
        """Read the file again when it is another; one that cannot be read changes nothing."""
        try:
            info = os.stat(self._path)
            if (info.st_mtime_ns, info.st_ino, info.st_size) != self._stamp:
                self._read()
        except (OSError, InvalidArgument):
            return

    def who(self, header: str | None) -> str | None:
        """Return the user that an Authorization header proves, None when it proves none."""
        scheme, _, coded = (header or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            text = base64.b64decode(coded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        user, colon, password = text.partition(":")
        if not colon or "\0" in text:
            return None
        with self._lock:
            self._refresh()
            hashed = self._hashes.get(user)
            mark = hmac.new(self._key, f"{hashed}\0{text}".encode(), hashlib.sha256).digest()
            if hashed is not None and mark in self._right:
                return user
            # A user who is not there takes as long as one who is.
            setting = hashed or next(iter(self._hashes.values()), "")
        right = hmac.compare_digest(self._crypt(password, setting), setting)
        if hashed is None or not right:
            return None
        with self._lock:
            if len(self._right) >= _MOST_REMEMBERED:
                self._right.clear()
            self._right.add(mark)
        return user
