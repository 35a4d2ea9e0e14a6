"""Listings of a bucket: names in order, common prefixes, pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from function.local.storage.objects import LiveObject

LARGEST_PAGE = 1000  # entries of one answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer of a listing; `token` is empty on the last one."""

    items: Sequence[LiveObject]
    prefixes: Sequence[str]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a listing asks for. Names compare by their UTF-8 bytes."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""  # inclusive
    end: str = ""  # exclusive
    limit: int = LARGEST_PAGE
    token: str = ""


def page(objects: Mapping[str, LiveObject], listing: Listing) -> Page:
    """One page of names in order; names that share a prefix up to the delimiter appear as that prefix, once."""
    items: list[LiveObject] = []
    prefixes: list[str] = []
    last = listing.token
    for name in sorted(objects, key=str.encode):
        if _outside(name, listing):
            continue
        common = _common_prefix(name, listing)
        key = common or name
        if key.encode() <= last.encode():
            continue
        if len(items) + len(prefixes) == listing.limit:
            return Page(items=items, prefixes=prefixes, token=last)
        if common:
            prefixes.append(common)
        else:
            items.append(objects[name])
        last = key
    return Page(items=items, prefixes=prefixes, token="")


def _outside(name: str, listing: Listing) -> bool:
    if not name.startswith(listing.prefix) or name.encode() < listing.start.encode():
        return True
    return bool(listing.end) and name.encode() >= listing.end.encode()


def _common_prefix(name: str, listing: Listing) -> str:
    """The name up to and with the first delimiter after the listing's prefix; empty where there is none."""
    if not listing.delimiter:
        return ""
    cut = name.find(listing.delimiter, len(listing.prefix))
    return "" if cut < 0 else name[: cut + len(listing.delimiter)]
