"""Whatever a guest calls a URL: what passes the list goes to a host of the list, as any reader of URLs sees it."""

from __future__ import annotations

from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from injector.backends.wasm.http_policy import HttpPolicy, parse_rule
from injector.errors import PluginHttpRefused

POLICY = HttpPolicy(hosts=tuple(map(parse_rule, ("api.example.com", "*.example.net:8443", "http://127.0.0.1:8080"))))
PIECES = st.sampled_from([
    *("https://", "http://", "api.example.com", "a.example.net", "example.net", "127.0.0.1", "evil.test", "::1"),
    *(":8443", ":8080", ":443", ":", "@", "user", "/", "//", "\\", "?", "#", "%2e", "%40", "..", "[", "]", "\u3002"),
    *("\t", "\n", " ", "0x7f"),
])  # fmt: skip


@given(st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=40).map("https://api.example.com".__add__))
def test_what_passes_goes_to_a_listed_host(url: str) -> None:
    try:
        target = POLICY.check(url)
    except PluginHttpRefused:
        return
    origin = (target.scheme, target.host, target.port)
    assert (
        origin == ("https", "api.example.com", 443)
        or origin == ("http", "127.0.0.1", 8080)
        or (origin[0] == "https" and origin[1].endswith(".example.net") and origin[2] == 8443)
    )
    again = urlsplit(target.url)  # what is signed and what proxies are told
    assert (again.scheme, again.hostname, again.username) == (target.scheme, target.host, None)
    assert target.path.startswith("/")
    assert target.path.isprintable()
    assert " " not in target.path
