"""Seccomp profiles of the OCI runtime spec become BPF programs, without libseccomp."""

from knarr.runtime.seccomp.compiler import VERSION, compile, load_flags  # noqa: A004

__all__ = ["VERSION", "compile", "load_flags"]
