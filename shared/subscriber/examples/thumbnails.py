"""A page with the newest cutouts, by the output `preview` where the service makes one.

    python -m cutdrop.examples.thumbnails --port 8080

The service's setting OUTPUTS="preview: size=256x256 format=webp" makes previews.
"""

import threading
from html import escape
from urllib.parse import quote

from ..messages import CompletionMessage, Output
from .endpoint import PICTURES, Endpoint, arguments, serve

MOST = 200  # pictures on the page


class Thumbnails:
    """The newest results in memory. An upload's newest generation counts: late and repeated messages change nothing."""

    def __init__(self, pictures: str = PICTURES, role: str = "preview") -> None:
        """pictures: address of a stored object, with {bucket} and {name}. role: of the output that is shown."""
        self._pictures, self._role = pictures, role
        self._shown: dict[tuple[str, str], tuple[int, Output]] = {}
        self._lock = threading.Lock()

    def handle(self, message: CompletionMessage) -> None:
        """One delivery."""
        output = message.output(self._role) or message.output()
        if output is None:
            return
        upload, generation = (message.source.bucket, message.source.name), int(message.source.generation)
        with self._lock:
            if self._shown.get(upload, (0, None))[0] < generation:
                self._shown.pop(upload, None)
                self._shown[upload] = (generation, output)
            for oldest in list(self._shown)[:-MOST]:
                del self._shown[oldest]

    def page(self) -> str:
        """HTML: the newest first."""
        with self._lock:
            newest = [(name, output) for (_, name), (_, output) in reversed(self._shown.items())]
        pictures = "".join(
            f'<figure><img src="{escape(self._url(output))}" width="128" loading="lazy" alt="">'
            f"<figcaption>{escape(name)}</figcaption></figure>"
            for name, output in newest
        )
        return f"<!doctype html><title>Cutouts</title><h1>{len(newest)} cutouts</h1>{pictures}"

    def _url(self, output: Output) -> str:
        return self._pictures.format(bucket=output.bucket, name=quote(output.name, safe=""))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pictures", default=PICTURES, help="address of a stored object, with {bucket} and {name}")
    parser.add_argument("--role", default="preview", help="the output that is shown; the cutout where there is none")
    given = parser.parse_args()
    page = Thumbnails(given.pictures, given.role)
    serve(Endpoint((given.host, given.port), page.handle, page=page.page))


if __name__ == "__main__":
    main()
