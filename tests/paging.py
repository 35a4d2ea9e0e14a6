"""A running page for tests, and what they ask of it."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from function.local.page.serving import Page, running_page
from function.local.run.checks import check_settings
from function.local.run.page import page_config


@contextmanager
def paging(*pictures: Path, options: Mapping[str, str] | None = None, **settings: str) -> Iterator["Paging"]:
    """The page as the command line starts it."""
    checked = check_settings(list(settings.items()), list((options or {}).items()), os.environ)
    given = [(file.name, file) for file in pictures]
    with running_page(page_config(checked), checked.environment, pictures=given) as page:
        yield Paging(page)


class Paging:
    """A page, spoken to over HTTP as its own scripts do."""

    def __init__(self, page: Page) -> None:
        self.page, self.url = page, page.url
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy is of no use on loopback

    def get(self, path: str, **request: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=60, **request)

    def post(self, path: str, **request: Any) -> requests.Response:
        return self.session.post(self.url + path, timeout=60, **request)

    def add(self, name: str, data: bytes) -> str:
        """The new picture's id."""
        return self.post("pictures", params={"name": name}, data=data).json()["id"]

    def cut(self, picture: str, *variants: Mapping[str, str], model: str = "") -> list[dict]:
        """The cuts of these options, once each has its outcome."""
        return self.outcomes(self.order(picture, *variants or ({},), model=model))

    def order(self, picture: str, *variants: Mapping[str, str], model: str = "") -> list[str]:
        """The ids of the queued cuts of these options."""
        asked = [{"options": options, "model": model} for options in variants]
        return [cut["id"] for cut in self.post("cuts", json={"picture": picture, "variants": asked}).json()]

    def outcomes(self, ids: list[str]) -> list[dict]:
        """The last state of each of these cuts, once it has ended."""
        ended: dict[str, dict] = {}
        for cut in self.cuts():
            if cut["id"] in ids and cut["state"] in ("completed", "failed"):
                ended[cut["id"]] = cut
            if len(ended) == len(ids):
                break
        return [ended[cut] for cut in ids]

    def events(self) -> Iterator[tuple[str, dict]]:
        """Server-sent events, without end."""
        with self.get("events", stream=True) as response:
            name = ""
            for line in map(bytes.decode, response.iter_lines(chunk_size=1)):
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))

    def cuts(self) -> Iterator[dict]:
        """Every state of every cut, from now on."""
        for name, data in self.events():
            yield from data["cuts"] if name == "all" else [data] if name == "cut" else []
