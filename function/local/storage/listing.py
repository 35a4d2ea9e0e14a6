"""List requests to a bucket: names in order, common prefixes, pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from function.local.storage.objects import LiveObject

LARGEST_PAGE = 1000  # entries in one response


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the result; `token` is empty on the last one."""

    items: Sequence[LiveObject]
    prefixes: Sequence[str]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """The parameters of a list request. Names compare by their UTF-8 bytes."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""  # inclusive
    end: str = ""  # exclusive
    limit: int = LARGEST_PAGE
    token: str = ""


def page(objects: Mapping[str, LiveObject], query: ListQuery) -> Page:
    """One page of names in order; names that share a prefix up to the delimiter appear as that prefix, once."""
    items: list[LiveObject] = []
    prefixes: list[str] = []
    last = query.token
    for name in sorted(objects, key=str.encode):
        if _outside(name, query):
            continue
        common = _common_prefix(name, query)
        key = common or name
        if key.encode() <= last.encode():
            continue
        if len(items) + len(prefixes) == query.limit:
            return Page(items=items, prefixes=prefixes, token=last)
        if common:
            prefixes.append(common)
        else:
            items.append(objects[name])
        last = key
    return Page(items=items, prefixes=prefixes, token="")


def _outside(name: str, query: ListQuery) -> bool:
    if not name.startswith(query.prefix) or name.encode() < query.start.encode():
        return True
    return bool(query.end) and name.encode() >= query.end.encode()


def _common_prefix(name: str, query: ListQuery) -> str:
    """The name up to and with the first delimiter after the query's prefix; empty if there is none."""
    if not query.delimiter:
        return ""
    cut = name.find(query.delimiter, len(query.prefix))
    return "" if cut < 0 else name[: cut + len(query.delimiter)]
