"""Which requests the demo's server takes: for which host, from which page, and how large. It is ASGI middleware."""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

MAX_FILE_SIZE = 100 * 2**20
MAX_UPLOAD_SIZE = MAX_FILE_SIZE + 2**16  # of a request: a file, and what a form puts around it
MAX_REQUEST_SIZE = 2**20  # of any other request
UPLOAD_PATH = "/gradio_api/upload"

# The browser itself refuses to load anything from elsewhere, so the page works offline and sends nothing to others.
CONTENT_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"

_THIS_COMPUTER = ("localhost", "127.0.0.1", "::1")


class AllowedHosts:
    """The hosts by which browsers may address the server.

    A page of another site can let its own name point to this server ("DNS rebinding"), and could then use the server
    in place of its user. Such a request still holds the name of that site. Addresses cannot be used in this way.

    listens_at: the host that the server listens at. If this is for other computers too, every address is allowed, and
        so are the names of this computer.
    names: more allowed names, without scheme and port, as of a proxy in front of the server.
    """

    def __init__(self, listens_at: str, names: Sequence[str] = ()) -> None:
        for name in names:
            if not (_is_address(name) or name.lower() == _host_of(f"//{name}")):
                raise ValueError(
                    f"An allowed host must be a name or an address without scheme and port, such as "
                    f"demo.example.org, got {name!r}."
                )
        own = listens_at.lower().strip("[]")
        self.for_others = not _is_loopback(own)
        self.names = {*_THIS_COMPUTER, own, *(name.lower() for name in names)}
        if self.for_others:
            computer = socket.gethostname().lower()
            self.names |= {computer, computer.split(".")[0], f"{computer.split('.')[0]}.local"}

    def allows(self, host: str | None) -> bool:
        """host: in lower case, without port; None for a host that could not be read."""
        if host is None:
            return False
        return host in self.names or _is_loopback(host) or (self.for_others and _is_address(host))


class GuardedRequests:
    """ASGI middleware: refuses requests for other hosts, from pages of other sites, and of too many bytes.

    It adds CONTENT_POLICY to every response.
    """

    def __init__(self, app: Any, allowed_hosts: AllowedHosts) -> None:
        self.app = app
        self.allowed_hosts = allowed_hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":  # the page uses none
            await send({"type": "websocket.close", "code": 1008})
            return

        limit = MAX_UPLOAD_SIZE if scope["path"].rstrip("/") == UPLOAD_PATH else MAX_REQUEST_SIZE
        body = _LimitedBody(scope["headers"], receive, limit)
        has_started = False

        async def send_with_policy(message: Any) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", CONTENT_POLICY.encode())
                message = {**message, "headers": [*message.get("headers", ()), policy]}
                has_started = True
            await send(message)

        async def send_if_within_limit(message: Any) -> None:
            if has_started or not body.is_too_large:
                await send_with_policy(message)

        if reason := self._refusal(scope["headers"]):
            await _respond(send_with_policy, 403, reason)
            return
        if not body.is_too_large:
            await self.app(scope, body.receive, send_if_within_limit)
        if body.is_too_large and not has_started:
            await body.skip()
            text = f"The request exceeds the maximum allowed size of {limit // 2**20} MiB. Send less."
            await _respond(send_with_policy, 413, text)

    def _refusal(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        # gradio puts the host that a proxy forwards into the addresses of the page.
        values = ",".join(_values(headers, b"host", b"x-forwarded-host")).split(",")
        for value in values:
            if not self.allowed_hosts.allows(_host_of(f"//{value.strip()}")):
                return (
                    f"This server does not serve the host {value.strip()[:100]!r}. Use the address that it showed "
                    "when it started, or start it with --allowed-hosts and the name of this host."
                )
        if not all(self.allowed_hosts.allows(_host_of(value)) for value in _values(headers, b"origin")):
            return "Requests from pages of other sites are refused. Open the page of this server itself."
        return None


class _LimitedBody:
    """The body of a request, of which `receive` passes on at most `limit` bytes, then ends as if the client had gone.

    is_too_large: whether the body has more bytes, or announces more.
    """

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], receive: Any, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._received = 0
        # Whether there is more to read. A client that expects a response first has not sent anything yet.
        self._is_awaited = not list(_values(headers, b"expect"))
        lengths = list(_values(headers, b"content-length"))
        self.is_too_large = any(not length.isdecimal() or int(length) > limit for length in lengths)

    async def receive(self) -> Any:
        message = await self._read()
        self.is_too_large = self.is_too_large or self._received > self._limit
        return {"type": "http.disconnect"} if self.is_too_large else message

    async def skip(self) -> None:
        """Read on without keeping anything, as browsers show a response only after they have sent the request.

        This ends after four times the limit. A client that still sends then loses the connection.
        """
        while self._is_awaited and self._received <= 4 * self._limit:
            await self._read()

    async def _read(self) -> Any:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        self._is_awaited = message.get("more_body", False)
        return message


async def _respond(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def _values(headers: Iterable[tuple[bytes, bytes]], *names: bytes) -> Iterable[str]:
    return (value.decode("latin-1") for name, value in headers if name.lower() in names)


def _host_of(url: str) -> str | None:
    """The host of a URL in lower case, without port. None if there is none, or anything that a host cannot hold."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
        _ = parts.port  # raises ValueError
    except ValueError:
        return None
    if not host or parts.username is not None or parts.path or parts.query or set(host) & set(" ,;@\\"):
        return None
    return host.rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host in _THIS_COMPUTER or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


__all__ = ["CONTENT_POLICY", "MAX_FILE_SIZE", "MAX_REQUEST_SIZE", "MAX_UPLOAD_SIZE", "AllowedHosts", "GuardedRequests"]
