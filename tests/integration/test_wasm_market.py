"""The market-data plugin of examples/plugins, driven by the command against an exchange on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugins" / "wasm-extism-go-market"
pytestmark = pytest.mark.go


SEEN: list[float] = []  # when each request came


def exchange(connection: socket.socket, head: bytes) -> None:
    """Three URLs of an exchange, for those who have the key."""
    line, _, headers = head.decode().lower().partition("\r\n")
    path = line.split(" ")[1]
    SEEN.append(time.monotonic())
    status, body = 404, {}
    if "x-api-key: k3y-k3y-k3y\r\n" not in headers or "x-api-secret: s3cret-s3cret\r\n" not in headers:
        status = 401
    elif path == "/v1/markets":
        status, body = 200, {"markets": [{"symbol": "BTC-USDT", "base": "BTC", "quote": "USDT"}]}
    elif path.startswith("/v1/ohlcv?") and "symbol=btc-usdt" in path and "limit=2" in path:
        status, body = 200, [[1, 2.5, 3, 2, 2.75, 10], [2, 2.75, 4, 2, 3, 11]]
    elif path == "/v1/ticker?symbol=btc-usdt":
        status, body = 200, {"last": "64000.5"}
    elif path == "/v1/ticker?symbol=slow":
        connection.recv(1)  # until the other side gives up
        return
    elif path.startswith("/v1/ticker?symbol=coin"):
        status, body = 200, {"last": "1"}
    elif path == "/v1/ticker?symbol=busy":
        status = 429
    data = json.dumps(body).encode()
    retry = b"Retry-After: 1\r\n" if status == 429 else b""
    connection.sendall(b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, retry, len(data), data))


@pytest.fixture
def market(tmp_path: Path, build_wasm: Callable[[Path], Path], wasm_cache: Path, serve: Any) -> Callable[..., Any]:
    """`market(*arguments, input="")`: `injector …` with the plugin installed and configured."""
    server = serve(exchange)
    module = tmp_path / "plugins" / "market" / "market.wasm"
    module.parent.mkdir(parents=True)
    module.write_bytes(build_wasm(EXAMPLE).read_bytes())

    def run(*arguments: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        given = {"api_key": "k3y-k3y-k3y", "api_secret": "s3cret-s3cret", "base_url": server.origin}
        given |= {"timeout_ms": "5000", "rate_limit": "10"} | settings
        content = {"injector": {"http": {"hosts": [server.origin]}}} | given
        config = tmp_path / "injector.yaml"
        document = {"apiVersion": "config-injector.io/v1alpha1", "kind": "Injector"}
        config.write_text(json.dumps(document | {"plugins": {"configuration": {"market": content}}}))
        command = [str(Path(sys.executable).with_name("injector")), *arguments, "--config", str(config)]
        command += ["--plugin-path", str(tmp_path / "plugins")]
        environment = {"HOME": str(tmp_path), "INJECTOR_PLUGIN_WASM_CACHE": str(wasm_cache)}
        return subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.seed(
    "000:47",
    "000:50",
    "000:52",
    "000:68",
    "000:69",
    "000:75",
    "000:76",
    "000:77",
    "000:100",
    "000:102",
    "000:104",
    "000:191",
    "000:195",
)
def test_markets_are_listed(market) -> None:
    done = market("plugin", "call", "market", "list_markets", "--input", "{}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"symbol": "BTC-USDT", "base": "BTC", "quote": "USDT"}]


@pytest.mark.seed("000:68", "000:69", "000:102", "000:116")
def test_candles_are_got(market) -> None:
    done = market("plugin", "call", "market", "get_ohlcv", "--input", '{"symbol":"BTC-USDT","interval":"1m","limit":2}')
    assert done.returncode == 0, done.stderr
    assert [candle["close"] for candle in json.loads(done.stdout)] == [2.75, 3]


@pytest.mark.seed("000:69")
def test_a_price_is_put_into_a_file(market) -> None:
    done = market("render", "-", stdin="price: MARKET://BTC-USDT\n")
    assert (done.returncode, done.stdout) == (0, "price: 64000.5\n"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        (("list_markets", "--input", ""), {"api_key": "wrong-wrong"}, 6, "does not know the api_key"),
        (
            ("list_markets", "--input", ""),
            {"base_url": "https://other.test"},
            7,
            "other.test:443 is not allowed",
        ),
        (("list_markets", "--input", ""), {"rate_limit": "0"}, 3, "rate_limit is no number above 0"),
        (("get_ohlcv", "--input", "{}"), {}, 3, "an object with symbol"),
        (("NO-SUCH",), {}, 4, "has no such symbol"),
        (("BUSY",), {}, 5, "asked too often"),
        (("fly", "--input", ""), {}, 7, "no function fly"),
    ],
)
@pytest.mark.seed("000:55", "000:75")
def test_what_goes_wrong_is_said_without_a_credential(market, arguments, settings, code: int, said: str) -> None:
    done = market("plugin", "call", "market", *arguments, "-vv", **settings)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert not any(secret in done.stderr for secret in ("k3y-k3y", "s3cret-s3cret", "wrong-wrong"))


@pytest.mark.seed("000:78")
def test_a_slow_exchange_is_given_up_after_timeout_ms(market) -> None:
    done = market("plugin", "call", "market", "SLOW", timeout_ms="300")
    assert done.returncode == 5, done.stderr
    assert "did not answer within 0.3 s, the plugin's own limit" in done.stderr


def span_of_a_burst(market, symbols: int, rate: str) -> float:
    """Seconds from the first request to the last, when so many prices are asked for at once."""
    SEEN.clear()
    done = market(
        "render", "-", stdin="".join(f"MARKET://COIN{number}\n" for number in range(symbols)), rate_limit=rate
    )
    assert (done.returncode, done.stdout) == (0, "1\n" * symbols), done.stderr
    assert len(SEEN) == symbols
    return max(SEEN) - min(SEEN)


@pytest.mark.seed("000:79")
def test_a_burst_goes_out_at_rate_limit_also_when_several_instances_ask(market) -> None:
    # Two full batches, and so two instances side by side: each by itself would need half of this time.
    assert span_of_a_burst(market, 100, "40") >= 1.6
