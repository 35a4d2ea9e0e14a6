"""A local cloud with the real server connected to it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from function.local.cloud import LocalCloud
from function.local.eventarc.delivery import RetryPolicy
from function.local.server_process import ServerProcess

READY_WITHIN_S = 900  # a large checkpoint is hashed and loaded first
RETRY = RetryPolicy(max_attempts=20, ack_deadline_s=3600)  # images take long on a CPU
DELIVERIES = 4  # at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalService:
    """The cloud, the server and a folder for temporary files."""

    cloud: LocalCloud
    server: ServerProcess
    scratch: Path


@contextmanager
def running_service(environment: Mapping[str, str], *, log: Path | None = None) -> Iterator[LocalService]:
    """Store, topic, events and server, stopped in order at the end. ServerFailed if the server does not start.

    environment: settings of the server. log: takes its output.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cutdrop-")))
        cloud = stack.enter_context(LocalCloud(spill_folder=scratch, retry=RETRY, concurrency=DELIVERIES))
        server = ServerProcess(
            {**cloud.environment(), **environment}, log=log or scratch / "server.log", ready_within_s=READY_WITHIN_S
        )
        stack.enter_context(server)
        cloud.eventarc.connect(server.url, f"{server.url}/dead-letter")
        yield LocalService(cloud=cloud, server=server, scratch=scratch)
