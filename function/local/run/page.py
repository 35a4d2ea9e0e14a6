"""The page of a command line: what it offers, and its files on it."""

import threading
from collections.abc import Sequence
from pathlib import Path

from function.local.page import form
from function.local.page.app import PageConfig
from function.local.page.serving import running_page
from function.local.run.checks import Checked, absent_networks
from function.local.run.fetch import at_hand
from function.local.run.files import collect
from function.local.run.outcomes import console
from function.plan import OPTION_PREFIX


def show_page(checked: Checked, paths: Sequence[Path], *, images_only: bool, port: int, log: Path | None) -> None:
    """Show the page, with the files of these paths on it, until interrupted.

    ServerFailed if its server does not start.
    """
    files = collect(paths, images_only=images_only) if paths else []
    pictures = [(file.name, file.path) for file in files]
    with console(stderr=True).status(f"starting the server, model {checked.settings.model}") as status:
        config = page_config(checked)
        with running_page(config, checked.environment, pictures=pictures, port=port, log=log) as page:
            status.stop()
            print(f"open {page.url} in a browser on this machine; Ctrl-C ends it", flush=True)
            threading.Event().wait()


def page_config(checked: Checked) -> PageConfig:
    """What the page offers with these settings."""
    settings, absent = checked.settings, absent_networks(checked.settings)
    texts = {name.removeprefix(OPTION_PREFIX): text for name, text in checked.metadata.items()}
    options = form.check(texts, settings, absent)["changed"]
    return PageConfig(settings=settings, options=options, models=at_hand(settings), absent=absent)
