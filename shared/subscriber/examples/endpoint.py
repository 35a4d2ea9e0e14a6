"""An HTTP endpoint for a push subscription, and for a page about what it was told."""

import argparse
import logging
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

from ..messages import CompletionMessage, UnreadableMessage, parse_push
from ..once import BeingHandled

LARGEST_BODY = 15_000_000  # bytes: a message of 10 MB in base64
PICTURES = "https://storage.cloud.google.com/{bucket}/{name}"  # for people who may read the bucket

Handle = Callable[[CompletionMessage], None]
Form = Callable[[Mapping[str, str]], None]

LOG = logging.getLogger("cutdrop.examples")


class Endpoint(ThreadingHTTPServer):
    """POST / takes pushed messages, POST /form the page's own form, GET / gives the page.

    handle: called for each delivery; if it raises, the message is delivered again.
    """

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handle: Handle,
        *,
        page: Callable[[], str] | None = None,
        form: Form | None = None,
    ) -> None:
        super().__init__(address, _Request)
        self.handle, self.page, self.form = handle, page, form


class _Request(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        if self.path != "/" or self.server.page is None:
            self._answer(404)
        else:
            self._answer(200, self.server.page().encode())

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        if size > LARGEST_BODY:
            self._answer(413)
            return
        body = self.rfile.read(size)
        if self.path == "/form" and self.server.form is not None:
            self.server.form(dict(parse_qsl(body.decode(errors="replace"))))
            self._answer(303)
        else:
            self._answer(self._taken(body))

    def _taken(self, body: bytes) -> int:
        """The status that acknowledges the message, or the one after which it is delivered again."""
        try:
            self.server.handle(parse_push(body))
        except UnreadableMessage as error:
            LOG.warning("acknowledged and dropped: %s", error)  # it would be no more readable next time
        except BeingHandled:
            return 503
        except Exception:
            LOG.exception("to be delivered again")
            return 503
        return 204

    def _answer(self, status: int, page: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(page)))
        if page:
            self.send_header("content-type", "text/html; charset=utf-8")
        if status == 303:
            self.send_header("location", "/")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        LOG.debug(format, *args)


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The command line that the examples share."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; nothing here asks who calls")
    parser.add_argument("--port", type=int, default=8080)
    return parser


def serve(endpoint: Endpoint) -> None:
    """Until Ctrl-C."""
    logging.basicConfig(level=logging.INFO)
    LOG.info("listening on http://%s:%d/", *endpoint.server_address[:2])
    with endpoint:
        try:
            endpoint.serve_forever()
        except KeyboardInterrupt:
            LOG.info("stopped")
