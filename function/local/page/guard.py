"""Who may talk to the page: this machine's browser with the address that was printed, and no other site in it."""

import hmac

from flask import Flask, Response, abort, request

LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost")
OWN = frozenset({"", "same-origin", "none"})  # Sec-Fetch-Site; none = typed, or opened from a bookmark
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def protect(app: Flask, *, token: str) -> None:
    """Refuse with 403 whatever does not name this address, comes from another site, or lacks the token in its path.

    A foreign Host is how a name that resolves to loopback would reach the page (DNS rebinding). The port is
    app.config["PAGE_PORT"].
    """

    @app.before_request
    def check() -> None:
        hosts = {f"{name}:{app.config['PAGE_PORT']}" for name in NAMES}
        origin = request.headers.get("Origin")
        if request.host not in hosts:
            abort(403, "This page answers to its own address only.")
        if (origin is not None and origin != f"http://{request.host}") or _site() not in OWN:
            abort(403, "This page answers to itself only, not to other sites.")
        if not hmac.compare_digest(request.path.split("/")[1].encode(), token.encode()):
            abort(403, "This address is not the one that was printed when the page started.")

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _site() -> str:
    return request.headers.get("Sec-Fetch-Site", "")
