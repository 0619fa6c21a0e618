"""What users see: each emulated site's own loopback server, serving its published deployment."""

from collections.abc import Callable, Iterable, Mapping
from html import escape
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request, Response

from taly.sandbox.http import Listener

Page = tuple[int, str] | tuple[int, str, Mapping[str, str]]
"""Status, HTML, and headers besides the content type."""
Render = Callable[[str], Page]
"""Takes the host name that was asked for; called for every request, from many threads."""


class SiteServer:
    """One site on one loopback port. Its address is known before it starts."""

    def __init__(self, render: Render) -> None:
        """Bind a free port; nothing is served yet."""
        self._render = render
        self._listener = Listener(self._application)

    @property
    def url(self) -> str:
        """Where users reach the site, without a trailing slash."""
        return self._listener.url

    def start(self) -> "SiteServer":
        """Begin to serve."""
        self._listener.start()
        return self

    def stop(self) -> None:
        """End the server, whether it was started or not."""
        self._listener.stop()

    def _application(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        status, html, *more = self._render(Request(environ).host.partition(":")[0])
        headers = {"cache-control": "no-store"}
        for extra in more:
            headers.update(extra)
        response = Response(html, status=status, headers=headers, content_type="text/html")
        return response(environ, start_response)


def deployment_page(*, title: str, commit: str, deployment: str, broken: bool = False) -> Page:
    """The page of one deployment.

    A broken one answers 500 and still names its commit, so that a person sees which one is live.
    """
    heading = "Application error" if broken else title
    html = (
        f'<!doctype html><html lang="en"><head><title>{escape(heading)}</title>'
        f'<meta name="x-taly-commit" content="{escape(commit)}"></head>'
        f"<body><h1>{escape(heading)}</h1><p>{escape(title)}, commit <code>{escape(commit)}</code>"
        f", deployment <code>{escape(deployment)}</code></p></body></html>\n"
    )
    headers = {"x-taly-commit": commit, "x-taly-deployment": deployment}
    return (500 if broken else 200), html, headers


def nothing_page(title: str) -> Page:
    """The page of a site to which nothing has been published."""
    return 404, f"<!doctype html><title>Not Found</title><h1>Not Found</h1>{escape(title)}\n"
