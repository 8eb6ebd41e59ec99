"""``search``: Docker Hub's own API, and for other registries the list of their repositories."""

from __future__ import annotations

import json
from typing import NamedTuple
from urllib.parse import quote

from knarr.errors import InvalidArchive, InvalidArgument
from knarr.registry import names
from knarr.registry.repository import Registry
from knarr.registry.session import DOCUMENT_LIMIT

LIMIT = 25
_MOST = 100
_HUB_SERVER, _HUB_SEARCH = "registry-1.docker.io", "index.docker.io"


class Found(NamedTuple):
    """One repository; what its registry does not know is empty."""

    name: str
    description: str = ""
    stars: int = 0
    is_official: bool = False


def split(term: str) -> tuple[str, str]:
    """Return (registry, what to look for); without a host it is Docker Hub.

    Raises InvalidArgument for an address.
    """
    if "://" in term:
        raise InvalidArgument(
            f"invalid repository name: repository name ({term}) should not have a scheme"
        )
    first, slash, rest = term.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return ("docker.io" if names.is_hub(first) else first), rest
    return names.HUB, term


def search(registry: Registry, term: str, limit: int) -> list[Found]:
    """Return up to ``limit`` repositories (0: 25) that fit the term, the best first.

    Raises Unsupported when the registry lists none, InvalidArgument for a limit.
    """
    limit = limit or LIMIT
    if not 1 <= limit <= _MOST:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, {_MOST}]")
    if names.is_hub(registry.host):
        return _hub(registry, term.removeprefix("library/"), limit)
    found = []
    for name in registry.catalog():
        if term.lower() in name.lower():
            found.append(Found(f"{registry.host}/{name}"))
            if len(found) == limit:
                break
    return found


def _hub(registry: Registry, term: str, limit: int) -> list[Found]:
    endpoint = registry.clients("")[-1].endpoint
    host = _HUB_SEARCH if endpoint.host == _HUB_SERVER else endpoint.host
    url = f"{endpoint.scheme}://{host}/v1/search?q={quote(term)}&n={limit}"
    what = f"search for {term!r}"
    response = registry.clients("")[-1].request("GET", url, what=what)
    try:
        results = json.loads(response.read(DOCUMENT_LIMIT, what))["results"]
        return [
            Found(
                str(each["name"]),
                str(each.get("description") or ""),
                int(each.get("star_count") or 0),
                each.get("is_official") is True,
            )
            for each in results[:limit]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InvalidArchive(f"{what}: Docker Hub's answer makes no sense") from None
