"""Chromium for the tests of the page: `python -m tests.browser` installs Debian's if there is none and it may."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "There is no Chromium. Install it (Debian: apt-get install chromium), or name one in CHROMIUM."
INSTALL = (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"])


def chromium() -> str:
    """The path of a Chromium; empty if there is none."""
    found = (shutil.which(name) for name in NAMES)
    return os.environ.get("CHROMIUM") or next(filter(None, found), "")


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser without a window. FileNotFoundError says how to get one."""
    path = chromium()
    if not path:
        raise FileNotFoundError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


def main() -> int:
    """The exit status: 0 = there is a Chromium now."""
    if not chromium() and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in INSTALL:
            subprocess.run(command, check=False)
    if not chromium():
        print(MISSING, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
