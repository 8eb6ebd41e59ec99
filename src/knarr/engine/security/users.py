"""Who the container's process is, for the engine: the rules stand in `knarr.runtime.users`."""

from knarr.runtime.users import MAX_ID, ResolvedUser, resolve_user

__all__ = ["MAX_ID", "ResolvedUser", "resolve_user"]
