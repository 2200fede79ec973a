"""
A Parameter Store as a program, with the limits that moto does not have: `fake_ssm.py [--rate N] [--latency SECONDS]`.

It prints its URL and serves until it is ended. GetParameter and GetParameters cost `--latency`, and one token each of a
bucket that fills with `--rate` a second and holds as many (none: no limit); a call without a token is refused with
ThrottlingException. A name answers by what is in it: `missing` is not there, `denied` and `kms` make the whole call an
AccessDeniedException as IAM and KMS do, `bad name` a ValidationException, everything else has a value, `value of NAME`.
GetParameters refuses more than ten names, and two of one parameter. `GET /calls` tells what was asked, as JSON: a list
of [operation, names, outcome]. `PUT /behaviour` with `{"values": {NAME: VALUE}, "refuse": CODE}` sets values, and the
code that every call is refused with from then on (null: none). `--host` and `--port` are where it listens: loopback,
any port.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time


class Store:
    def __init__(self, rate: float, latency: float) -> None:
        self.rate = rate
        self.latency = latency
        self.tokens = rate
        self.filled_at = time.monotonic()
        self.calls: list[tuple[str, list[str], str]] = []
        self.values: dict[str, str] = {}
        self.refusal: str | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, answer = await self.answer(first, headers, body)
                data = json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {status} x\r\nContent-Type: application/x-amz-json-1.1\r\n"
                    f"Content-Length: {len(data)}\r\n\r\n".encode()
                    + data
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has closed its end
        finally:
            writer.close()

    async def answer(self, first: str, headers: dict[str, str], body: bytes) -> tuple[int, object]:
        if first.startswith("GET /calls"):
            return 200, self.calls
        if first.startswith("PUT /behaviour"):
            behaviour = json.loads(body)
            self.values |= behaviour.get("values", {})
            self.refusal = behaviour.get("refuse")
            return 200, {}
        operation = headers["x-amz-target"].partition(".")[2]
        request = json.loads(body)
        names = request.get("Names") or [request["Name"]]
        throttled = not self.take()
        await asyncio.sleep(self.latency)
        if self.refusal is not None:
            return self.refuse(operation, names, self.refusal, "refused")
        if throttled:
            return self.refuse(operation, names, "ThrottlingException", "Rate exceeded")
        if len(names) > 10 or len({base(name) for name in names}) < len(names) or any("bad name" in n for n in names):
            return self.refuse(operation, names, "ValidationException", "1 validation error detected")
        if any("denied" in name or "kms" in name for name in names):
            return self.refuse(operation, names, "AccessDeniedException", "not authorized")
        missing = [name for name in names if "missing" in name]
        if operation == "GetParameter" and missing:
            return self.refuse(operation, names, "ParameterNotFound", "")
        self.calls.append((operation, names, "ok"))
        found = [self.parameter(name) for name in names if name not in missing]
        found.reverse()  # SSM keeps no order
        if operation == "GetParameter":
            return 200, {"Parameter": found[0]}
        return 200, {"Parameters": found, "InvalidParameters": missing}

    def refuse(self, operation: str, names: list[str], code: str, text: str) -> tuple[int, object]:
        self.calls.append((operation, names, code))
        return 400, {"__type": code, "message": text}

    def take(self) -> bool:
        if not self.rate:
            return True
        now = time.monotonic()
        self.tokens = min(self.rate, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def parameter(self, name: str) -> dict[str, object]:
        found = parameter(name)
        return found | {"Value": self.values.get(base(name), found["Value"])}


def plain(name: str) -> str:
    return "/" + name.partition(":parameter/")[2] if name.startswith("arn:") else name


def base(name: str) -> str:
    return plain(name).partition(":")[0]


def parameter(name: str) -> dict[str, object]:
    selector = plain(name).partition(":")[2]
    return {
        "Name": base(name),
        "ARN": f"arn:aws:ssm:eu-west-1:123456789012:parameter{base(name)}",
        "Type": "String",
        "Value": f"value of {plain(name)}",
        "Version": int(selector) if selector.isdigit() else 7,
        **({"Selector": f":{selector}"} if selector else {}),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--latency", type=float, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    store = Store(options.rate, options.latency)
    server = await asyncio.start_server(store.serve, options.host, options.port, backlog=512)
    print(f"http://{options.host}:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
