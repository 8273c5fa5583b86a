"""Which requests the demo's server takes: hosts, pages of other sites, and sizes. No web server is needed."""

import asyncio
import socket

import pytest

from hq_sam_hf.demo import request_checks
from hq_sam_hf.demo.request_checks import AllowedHosts, GuardedRequests

FORM = "/gradio_api/upload"


async def application(scope, receive, send):
    """Reads the request and sends its number of bytes."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(headers, parts=(b"",), path="/config", allowed=None):
    """The status and the text of the response, and how many parts of the request were read."""
    waiting, sent = list(parts), []

    async def receive():
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": [(name.encode(), value.encode()) for name, value in headers]}
    guarded = GuardedRequests(application, allowed or AllowedHosts("127.0.0.1"))
    asyncio.run(guarded(scope, receive, send))
    start, body = sent
    assert (b"content-security-policy", request_checks.CONTENT_POLICY.encode()) in start["headers"]
    return start["status"], body["body"].decode(), len(parts) - len(waiting)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7860", "LOCALHOST.", "127.0.0.1:7860", "127.1.2.3", "[::1]:7860", "[::1]"]
)
def test_this_computer_is_served(host):
    assert ask([("host", host)])[:2] == (200, "0")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "192.168.0.9",
        "",
        "a b",
    ],
)
def test_a_host_that_is_not_of_this_computer_is_refused_with_what_to_do(host):
    status, text, _ = ask([("host", host)])
    assert status == 403
    assert text.startswith(f"This server does not serve the host {host!r}.")
    assert "start it with --allowed-hosts and the name" in text
    if host and " " not in host and "@" not in host:  # the advice works
        name = host.removesuffix(":7860")
        assert ask([("host", host)], allowed=AllowedHosts("127.0.0.1", [name]))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("host", "localhost"), ("host", "evil.example")],
        [("host", "localhost"), ("x-forwarded-host", "evil.example")],
        [("host", "localhost"), ("x-forwarded-host", "localhost, evil.example")],
    ],
)
def test_a_missing_second_or_forwarded_host_is_checked_too(headers):
    assert ask(headers)[0] == 403


def test_a_server_for_other_computers_takes_addresses_and_its_own_names_but_no_other_names():
    for listens_at in ("0.0.0.0", "::", "demo.example.org"):
        allowed = AllowedHosts(listens_at)
        for host in ("192.168.0.9:7860", "[fe80::1]:7860", "localhost", socket.gethostname()):
            assert ask([("host", host)], allowed=allowed)[0] == 200
        assert ask([("host", "evil.example")], allowed=allowed)[0] == 403
    assert ask([("host", "demo.example.org:80")], allowed=AllowedHosts("demo.example.org"))[0] == 200


@pytest.mark.parametrize(
    "name", ["https://demo.example.org", "demo.example.org:443", "demo.example.org/path", "", "a b"]
)
def test_an_allowed_host_is_a_name_without_scheme_and_port(name):
    with pytest.raises(
        ValueError, match="must be a name or an address without scheme and port, such as demo.example.org"
    ):
        AllowedHosts("127.0.0.1", [name])


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:7860", 200), ("https://127.0.0.1", 200), ("http://evil.example", 403), ("null", 403)],
)
def test_requests_from_pages_of_other_sites_are_refused(origin, status):
    assert ask([("host", "localhost"), ("origin", origin)])[0] == status


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(request_checks, "MAX_UPLOAD_SIZE", 2 * 2**20)
    monkeypatch.setattr(request_checks, "MAX_REQUEST_SIZE", 2**20)


HALF = bytes(2**19)  # half of the small limit of requests that are no upload


@pytest.mark.parametrize(("path", "most"), [(FORM, 4), ("/gradio_api/queue/join", 2)])
@pytest.mark.parametrize("announced", [True, False])
def test_a_request_of_too_many_bytes_is_refused_whether_or_not_it_announces_them(small_limits, path, most, announced):
    for count in (most, most + 1):
        headers = [("host", "localhost"), *[("content-length", str(count * len(HALF)))] * announced]
        status, text, _ = ask(headers, [HALF] * count, path)
        if count == most:
            assert (status, text) == (200, str(most * len(HALF)))
        else:
            assert (status, text) == (
                413,
                f"The request exceeds the maximum allowed size of {most // 2} MiB. Send less.",
            )


def test_the_rest_of_a_request_that_is_too_large_is_read_only_so_far(small_limits):
    *_, parts_read = ask([("host", "localhost"), ("content-length", "9" * 12)], [HALF] * 1000)
    assert parts_read < 12
    waits = [("host", "localhost"), ("content-length", "9" * 12), ("expect", "100-continue")]
    assert ask(waits, [HALF] * 1000)[2] == 0  # the client has sent nothing yet


@pytest.mark.parametrize("length", ["-1", "1e3", "many"])
def test_a_length_that_is_no_number_is_refused(small_limits, length):
    assert ask([("host", "localhost"), ("content-length", length)])[0] == 413
