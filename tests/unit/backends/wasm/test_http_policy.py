"""What a plugin may ask for, and what not."""

from __future__ import annotations

import ipaddress

import pytest

from injector.backends.wasm.http_policy import HttpPolicy, is_public, parse_rule, parse_url
from injector.errors import PluginHttpRefused


def policy(*hosts: str, networks: tuple[str, ...] = (), **more: object) -> HttpPolicy:
    return HttpPolicy(hosts=tuple(map(parse_rule, hosts)), networks=tuple(map(ipaddress.ip_network, networks)), **more)


@pytest.mark.parametrize(
    ("rule", "url"),
    [
        ("api.example.com", "https://api.example.com/v1?x=1"),
        ("api.example.com", "https://API.example.com:443/"),
        ("api.example.com:8443", "https://api.example.com:8443"),
        ("*.example.com", "https://a.b.example.com/"),
        ("*.example.com:8443", "https://a.example.com:8443/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/x"),
        ("http://api.example.com", "http://api.example.com/"),
        ("https://api.example.com", "https://api.example.com/"),
        ("[2001:db8::7]:8443", "https://[2001:DB8:0::7]:8443/"),
    ],
)
def test_what_is_on_the_list_may_be_asked(rule: str, url: str) -> None:
    policy(rule).check(url)


@pytest.mark.parametrize(
    ("rule", "url"),
    [
        ("api.example.com", "http://api.example.com/"),
        ("api.example.com", "https://api.example.com:8443/"),
        ("api.example.com", "https://example.com/"),
        ("api.example.com", "https://api.example.com.evil.test/"),
        ("api.example.com", "https://evil.test/api.example.com"),
        ("*.example.com", "https://example.com/"),
        ("*.example.com", "https://evilexample.com/"),
        ("*.example.com", "https://api.example.com./"),
        ("http://api.example.com", "https://api.example.com/"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8081/"),
        ("api.example.com", "https://user:pw@api.example.com/"),
        ("api.example.com", "https://api.example.com@evil.test/"),
        ("api.example.com", "https://evil.test\\@api.example.com/"),
        ("api.example.com", "https://api.example.com:443@evil.test/"),
        ("api.example.com", "file:///etc/passwd"),
        ("api.example.com", "ftp://api.example.com/"),
        ("api.example.com", "//api.example.com/"),
        ("api.example.com", "https:///x"),
        ("api.example.com", "https://api.example.com:0/"),
        ("api.example.com", "https://api.example.com:99999/"),
        ("api.example.com", "https://api.example.com/\r\nX-Evil: 1"),
        ("api.example.com", "https://api.example.com/ x"),
        ("api.example.com", "https://api.exämple.com/"),
        ("api.example.com", "https://api.example.com%00.evil.test/"),
        ("api.example.com", "https://[fe80::1%25eth0]/"),
        ("api.example.com", "https://api.example.com/" + "x" * 9000),
    ],
)
def test_what_is_not_on_the_list_is_refused(rule: str, url: str) -> None:
    with pytest.raises(PluginHttpRefused):
        policy(rule).check(url)


def test_nothing_may_be_asked_by_default() -> None:
    with pytest.raises(PluginHttpRefused, match=r"a request to https://api\.example\.com:443 is not allowed") as caught:
        HttpPolicy().check("https://api.example.com/secret-path")
    assert "add `api.example.com`" in (caught.value.hint or "")
    assert "secret-path" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "text",
    ["", "*", "*.com", "*.10.0.0.1", "api.example.com/x", "u@api.example.com", "ftp://x.test", "a b", "x:0", "http://"],
)
def test_a_rule_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_rule(text)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
        ),
        *("168.63.129.16", "100.100.100.200", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fd00:ec2::254", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::"),
    ],
)
def test_an_address_that_is_not_of_the_internet_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "52.94.5.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_private_address_is_reached_only_when_it_or_its_network_is_listed() -> None:
    inside, metadata = ipaddress.ip_address("10.1.2.3"), ipaddress.ip_address("169.254.169.254")
    target = parse_url("https://vault.internal.test/")
    assert not policy("vault.internal.test").admits(inside, target)
    granted = policy("vault.internal.test", networks=("10.0.0.0/8",))
    assert granted.admits(inside, target)
    assert not granted.admits(metadata, target)
    assert policy("10.1.2.3").admits(inside, parse_url("https://10.1.2.3/"))


def test_localhost_is_this_machine_and_nothing_else() -> None:
    target = parse_url("http://localhost:8080/")
    rules = policy("http://localhost:8080")
    assert rules.admits(ipaddress.ip_address("127.0.0.1"), target)
    assert rules.admits(ipaddress.ip_address("::1"), target)
    assert not rules.admits(ipaddress.ip_address("10.0.0.1"), target)


def test_a_manifest_narrows_what_the_connection_grants_and_widens_nothing() -> None:
    narrowed = policy("*.example.com", narrowed_to=("api.example.com", "*.test"))
    narrowed.check("https://api.example.com/")
    with pytest.raises(PluginHttpRefused, match="own manifest"):
        narrowed.check("https://other.example.com/")
    with pytest.raises(PluginHttpRefused, match="is not allowed"):
        narrowed.check("https://evil.test/")
