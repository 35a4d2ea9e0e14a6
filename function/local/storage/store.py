"""An object store that speaks the Cloud Storage JSON API on a loopback port, for the local run and the tests.

The official client reaches it through STORAGE_EMULATOR_HOST. Failures are injected through `LocalStore.faults` or over
HTTP: POST, GET and DELETE /_local/faults.
"""

import json
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from function.local.storage.body import BLOCK, Body, flipped
from function.local.storage.faults import Effect, Fault, FaultPlan, Gate
from function.local.storage.json_api import JsonApi
from function.local.storage.objects import Listener, ObjectTable, StoreError
from function.local.storage.request import Request
from function.local.storage.wire import Response, error_response, json_response

CONTROL = "/_local/faults"
_REASONS = {408: "requestTimeout", 429: "rateLimitExceeded", 500: "internalError", 503: "backendError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that the store answered (status 0: the connection was reset)."""

    operation: str
    bucket: str
    name: str
    status: int

    @classmethod
    def of(cls, request: Request, response: Response | None) -> "Call":
        return cls(
            operation=request.operation,
            bucket=request.names.get("bucket", ""),
            name=request.object_name,
            status=response.status if response is not None else 0,
        )


class LocalStore:
    """The store: `with LocalStore() as store: ... store.url`.

    spill_folder: takes objects above 4 MiB, which are kept in memory otherwise.
    """

    def __init__(self, spill_folder: Path | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.table = ObjectTable()
        self.faults = FaultPlan()
        self.calls: deque[Call] = deque(maxlen=10_000)
        self.spill_folder = spill_folder
        self.api = JsonApi(self.table, spill_folder)
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="store", daemon=True)

    def __enter__(self) -> "LocalStore":
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What STORAGE_EMULATOR_HOST takes."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, cut open connections, wait for their threads."""
        self._server.shutdown()
        self.faults.clear()
        self._server.cut_connections()
        self._server.server_close()
        self._thread.join()

    def create_bucket(self, name: str) -> None:
        self.table.create_bucket(name)

    def discard(self, bucket: str, name: str, generation: int) -> None:
        """Free an object's bytes and keep the object: its name stays taken, its metadata stays readable.

        Nothing happens if this generation does not live any more.
        """
        live = self.table.live(bucket, name)
        if live is not None and live.generation == generation:
            live.body.discard()

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` after every new generation, before the writer has its answer."""
        self.table.listeners.append(listener)

    def fail(self, status: int = 503, *, operation: str = "*", name: str = "*", times: int = 1) -> Fault:
        """Answer the next `times` such requests with `status` and do nothing."""
        return self.faults.add(Fault(status=status, operation=operation, object=name, times=times))

    def hold(self, operation: str, name: str = "*") -> Gate:
        """Hold the next such request until the gate is opened."""
        gate = Gate()
        self.faults.add(Fault(effect=Effect.HOLD, operation=operation, object=name, gate=gate))
        return gate


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for them, so nothing runs on after stop
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], store: LocalStore) -> None:
        super().__init__(address, _Handler)
        self.store = store
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def cut_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                _shut_down(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Closed connections are normal; anything else is printed."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _ConnectionBroken(Exception):
    """The client closed the connection, or a fault does: no response can be sent."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # answers go out in two writes; delayed acknowledgements would cost 40 ms each
    wbufsize = 1 << 16
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """`LocalStore.calls` is the log."""

    def _answer(self) -> None:
        store = self.server.store
        if self.path.startswith(CONTROL):
            self._send(control(store.faults, self.command, b"".join(self._incoming())))
            return
        try:
            request = Request.parse(self.command, self.path, dict(self.headers.items()))
        except StoreError as error:
            self._receive()
            self._send(error_response(error))
            return
        fault, response = None, None
        try:
            fault = self._receive_request(request)
            response = self._perform(request, fault)
        except StoreError as error:
            response = error_response(error, request.operation)
        except _ConnectionBroken:
            self._reset()
        store.calls.append(Call.of(request, response))
        if response is not None:
            self._send(response, fault)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

    def _receive_request(self, request: Request) -> Fault | None:
        """Read the body and take the fault for this request. Only a chunk's fault may cut its body short."""
        store = self.server.store
        if request.operation != "chunk":
            request.body, _ = self._receive()
            return store.faults.take(request.operation, request.object_name)
        request.upload_name = store.api.upload_name(request)
        fault = store.faults.take(request.operation, request.object_name)
        reset = fault is not None and fault.effect is Effect.RESET
        request.body, complete = self._receive(fault.after if fault is not None and reset else None)
        if reset or not complete:
            store.api.keep_part(request)
            raise _ConnectionBroken
        return fault

    def _perform(self, request: Request, fault: Fault | None) -> Response:
        api = self.server.store.api
        if fault is None:
            return api.answer(request)
        if fault.effect is Effect.STATUS:
            raise StoreError(fault.status, fault.reason or _REASONS.get(fault.status, "error"), fault.message)
        if fault.effect is Effect.RESET:
            raise _ConnectionBroken
        if fault.effect is Effect.DELAY:
            time.sleep(fault.delay_s)
        if fault.gate is not None:
            fault.gate.arrive()
        request.damaged = fault.effect is Effect.CORRUPT
        response = api.answer(request)
        if fault.effect is Effect.LOSE_RESPONSE:
            raise _ConnectionBroken
        return response

    def _receive(self, limit: int | None = None) -> tuple[Body, bool]:
        """The request's body, of which `limit` bytes are kept, and whether all of it came."""
        body = Body(folder=self.server.store.spill_folder)
        try:
            for block in self._incoming():
                body.append(block if limit is None else block[: max(0, limit - body.size)])
        except ConnectionError:
            return body, False
        return body, True

    def _incoming(self) -> Iterator[bytes]:
        """The request's body in blocks; ConnectionError if it ends early."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield self._exactly(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                continue
            return
        remaining = int(self.headers.get("Content-Length") or 0)
        while remaining:
            block = self._exactly(min(BLOCK, remaining))
            remaining -= len(block)
            yield block

    def _exactly(self, size: int) -> bytes:
        block = self.rfile.read(size)
        if len(block) < size:
            raise ConnectionError("the request's body ended early")
        return block

    def _send(self, response: Response, fault: Fault | None = None) -> None:
        effect = fault.effect if fault is not None else None
        damaged = effect is Effect.CORRUPT and self.command == "GET"
        blocks = flipped(response.blocks) if damaged else iter(response.blocks)
        self.send_response(response.status)
        for key, value in response.headers.items():
            self.send_header(key, value)
        if response.status not in (204, 304):
            self.send_header("Content-Length", str(response.length))
        self.end_headers()
        if fault is None or effect is not Effect.BREAK:
            self.wfile.writelines(blocks)
            return
        self.wfile.write(b"".join(blocks)[: fault.after])
        self.wfile.flush()
        self.close_connection = True
        _shut_down(self.connection)

    def _reset(self) -> None:
        """Close so that the client sees a reset connection, not an orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed by the client already


def control(faults: FaultPlan, method: str, body: bytes) -> Response:
    """The faults over HTTP: POST one as JSON, GET those still to come, DELETE all."""
    if method == "POST":
        try:
            faults.add(Fault.from_json(json.loads(body)))
        except (ValueError, TypeError) as error:
            return json_response({"error": str(error)}, status=400)
    elif method == "DELETE":
        faults.clear()
    return json_response({"faults": [fault.as_json() for fault in faults.pending()]})
