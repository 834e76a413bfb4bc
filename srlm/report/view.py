"""`srlm view`: the page of a whole run from a small web server, for browsers of this machine only.

It binds to 127.0.0.1 and answers only requests that name this machine as their host: a web page elsewhere whose name
was made to point here (DNS rebinding) gets nothing. It only reads. Starlette and uvicorn: small, well kept, and
installed with vLLM anyway.
"""

import socket
import threading
from typing import Any

from srlm.console import out, say
from srlm.errors import UserError
from srlm.report.index import Index, Query
from srlm.report.page import overview, page
from srlm.run.folder import Run

LOOPBACK = "127.0.0.1"
LARGEST_PAGE = 100  # rows of one answer
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def serve(run: Run, port: int) -> None:
    """Serve until Ctrl+C. Raises UserError when the port is taken."""
    import uvicorn

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, port))
            listening.listen()  # before the address is printed: who reads it may connect at once
        except OSError as error:
            raise UserError(
                f"port {port}: {error.strerror}", "choose another one, or --port 0 for any free one"
            ) from None
        say(f"Reading {run.root} ...")
        app = application(run)
        out().print(f"http://{LOOPBACK}:{listening.getsockname()[1]}/", soft_wrap=True)
        out().file.flush()
        say("Open this address in a browser on this machine. Ctrl+C stops the server.")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # how it is meant to end
            return


def application(run: Run) -> Any:
    """The ASGI application: the page under /, rows as JSON under /rows. Reads the run once before it returns."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    index, pages = Index(run), _Pages(run)
    pages.get()

    def home(_: Request) -> Response:
        return HTMLResponse(pages.get(), headers=HEADERS)

    def rows(request: Request) -> Response:
        try:
            query, start, count = _asked(dict(request.query_params))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400, headers=HEADERS)
        return JSONResponse(index.page(query, start, count), headers=HEADERS)

    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"], www_redirect=False)
    return Starlette(routes=[Route("/", home), Route("/rows", rows)], middleware=[hosts])


class _Pages:
    """The page, made anew when a stage of the run has begun or ended."""

    def __init__(self, run: Run) -> None:
        self.run = Run(run.root)  # of its own: the index loads its run again in other threads
        self.record = ""
        self.page = ""
        self.lock = threading.Lock()

    def get(self) -> str:
        with self.lock:
            record = self.run.paths.record.read_text(encoding="utf-8")
            if record != self.record:
                self.run.load()
                self.page, self.record = page(overview(self.run) | {"live": True}, live=True), record
            return self.page


def _asked(parameters: dict[str, str]) -> tuple[Query, int, int]:
    """The query, the first row and the number of rows. Raises ValueError for what is out of range."""
    start, count = int(parameters.get("start", "0")), int(parameters.get("count", "25"))
    if start < 0 or not 0 < count <= LARGEST_PAGE:
        raise ValueError(f"start must be 0 or more, and count from 1 to {LARGEST_PAGE}")
    words = {name: parameters.get(name, "") for name in ("text", "model", "kind", "outcome", "sort")}
    flags = {name: parameters.get(name) == "1" for name in ("unparsed", "ascending")}
    return Query(**words, **flags), start, count  # type: ignore[arg-type]
