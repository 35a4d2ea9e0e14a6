"""Starts the page: the service, the queue of cuts and an HTTP server on a loopback port."""

import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from function.local.page.app import PageConfig, clean_name, create_app
from function.local.page.cutting import Cutting
from function.local.page.gallery import Gallery, Variant
from function.local.page.guard import LOOPBACK
from function.local.page.servers import Servers
from function.local.page.views import Views
from shared.decoder_pool import DecoderPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A running page. url: with its token."""

    url: str
    gallery: Gallery
    servers: Servers


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many requests

    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing: the page shows what happens."""


@contextmanager
def running_page(
    config: PageConfig,
    environment: Mapping[str, str],
    *,
    pictures: Sequence[tuple[str, Path]] = (),
    port: int = 0,
    log: Path | None = None,
) -> Iterator[Page]:
    """The page and its service, stopped in order at the end. ServerFailed if the service does not start.

    environment: settings of the server. pictures: names and files that it shows and cuts at once. port: 0 = a free one.
    """
    gallery = Gallery()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cutdrop-page-")))
        decoder = DecoderPool(1, timeout_s=config.settings.decode_timeout_s)
        stack.callback(decoder.stop)
        servers = stack.enter_context(Servers(config.models[0], environment, log))
        stack.enter_context(Cutting(gallery, servers, folder))
        token = secrets.token_urlsafe(16)
        views = Views(decoder, max_pixels=config.settings.max_pixels)
        app = create_app(config, gallery, views, folder, token=token)
        server = make_server(LOOPBACK, port, app, threaded=True, request_handler=_Quiet)
        app.config["PAGE_PORT"] = server.port
        threading.Thread(target=server.serve_forever, args=(0.1,), name="page", daemon=True).start()
        stack.callback(server.shutdown)
        for name, file in pictures:
            picture = gallery.add(clean_name(name), file)
            gallery.order(picture.id, [Variant(model=config.models[0], options=config.options)])
        yield Page(url=f"http://{LOOPBACK}:{server.port}/{token}/", gallery=gallery, servers=servers)
