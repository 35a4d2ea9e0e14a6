"""The production server as a child process: ready when /startup answers, stopped by SIGTERM."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from shared.errors import CutdropError

ROOT = Path(__file__).resolve().parents[2]  # the repository: the server's working directory
GUNICORN = (sys.executable, "-m", "gunicorn", "-c")
SERVICE = "function/server.py"
LOOPBACK = "127.0.0.1"
TAIL = 4000  # characters of the log that an error quotes


class ServerFailed(Exception):
    """The server ended or was not ready in time; the message has its own reason, else the last lines of its log."""


class ServerProcess:
    """`with ServerProcess(environment, log=path) as server: ... server.url`.

    environment: settings, added to this process's own environment; PORT is chosen here.
    log: file that takes the server's standard output and error. config: which gunicorn configuration is started.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        log: Path,
        config: str = SERVICE,
        ready_within_s: float = 120,
        stop_within_s: float = 12,
    ) -> None:
        self.log = log
        self.port = free_port()
        self._command = (*GUNICORN, config, "--bind", f"{LOOPBACK}:{self.port}")  # in the cloud, it is every address
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._environment = {**os.environ, **environment, "PORT": str(self.port)}
        self._ready_within_s, self._stop_within_s = ready_within_s, stop_within_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ServerProcess":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process that takes signals; 0 if it is not running."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start and wait for /startup. ServerFailed if it does not come."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # A session of its own: Ctrl-C reaches this process only, which then stops the server in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command, cwd=ROOT, env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> int | None:
        """SIGTERM, then SIGKILL for whatever is left; the exit status, None if it never ran."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(self._stop_within_s)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def check(self) -> None:
        """ServerFailed if the server ended by itself."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise ServerFailed(_reason(self.log_text()) or f"it ended with status {status}:\n{self.log_text()[-TAIL:]}")

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + self._ready_within_s
        while not self._ready():
            self.check()
            if time.monotonic() > end:
                raise ServerFailed(f"not ready within {self._ready_within_s} s:\n{self.log_text()[-TAIL:]}")
            time.sleep(0.05)

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=5)
        try:
            connection.request("GET", "/startup")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _reason(log: str) -> str:
    """What the server printed about why it cannot start; empty if it printed nothing of the kind."""
    kinds = "|".join(kind.__name__ for kind in CutdropError.__subclasses__())
    found = re.findall(rf"^((?:{kinds}): .*)$", log, re.MULTILINE)
    return found[-1] if found else ""


def free_port() -> int:
    """A loopback port that nothing listens on right now."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])
