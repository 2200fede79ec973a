"""Protocol 2 as the host reads it, from a plugin that says whatever it likes."""

from __future__ import annotations

import asyncio
import time

import pytest

from injector import errors
from injector._proto.injector.plugin.v2 import plugin_pb2 as pb
from injector.backends.contract import RateLimit
from injector.backends.goplugin.protocol2 import Protocol2
from injector.backends.goplugin.status import CallStatus, to_error
from injector.backends.goplugin.transport import CallFailed
from injector.model.references import Lease, Reference, Value

REFERENCES = [Reference("DEMO", f"/{n}", "k=v") for n in range(3)]


class Channel:
    """A connection to a plugin whose answers are given beforehand: messages, bytes, or a failure."""

    def __init__(self, **answers):
        self.answers = {"Describe": pb.DescribeResponse(largest_batch=10)} | answers
        self.requests = []

    async def call(self, method, request, *, within):
        name = method.rpartition("/")[2]
        self.requests.append((name, request))
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else answer.SerializeToString()

    async def stream(self, method, request, *, within):
        name = method.rpartition("/")[2]
        self.requests.append((name, request))
        for answer in self.answers[name]:
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, float):
                await asyncio.sleep(answer)
                continue
            yield answer if isinstance(answer, bytes) else answer.SerializeToString()


async def explain(failure, what):
    return to_error(failure.status, plugin="plugin demo", reference=what)


async def begin(channel, prefix="DEMO"):
    return await Protocol2.begin(channel, "plugin demo", prefix=prefix, max_value_bytes=100, explain=explain, clean=str)


async def ask(*answers):
    """The answers, and the error that ended them."""
    protocol = await begin(Channel(Resolve=answers))
    seen = []
    try:
        async for reference, outcome in protocol.resolve(REFERENCES, within=5):
            seen.append((reference.path, outcome.data.reveal() if isinstance(outcome, Value) else outcome.code))
    except errors.InjectorError as error:
        return seen, error
    return seen, None


def response(place, **outcome):
    return pb.ResolveResponse(answers=[pb.Answer(reference=place, **outcome)])


def value(place, data=b"x", **more):
    return response(place, value=pb.Value(data=data, **more))


def failing(code, details=""):
    return CallFailed(CallStatus(code, details))


# ------------------------------------------------------------------------------------------------------- describe


async def test_the_description_gives_the_limits():
    said = pb.DescribeResponse(
        prefixes=["DEMO", "OTHER"],
        name="demo",
        version="1.2",
        largest_batch=20,
        most_in_flight=3,
        rate_limit=pb.RateLimit(calls_per_second=40, burst=10),
        can_watch=True,
    )
    description = (await begin(Channel(Describe=said))).description
    assert (description.limits.largest_batch, description.limits.most_in_flight) == (20, 3)
    assert description.limits.rate == RateLimit(40, 10)
    assert (description.name, description.version, description.can_watch) == ("demo", "1.2", True)


async def test_what_is_not_said_has_a_default():
    limits = (await begin(Channel(Describe=b""))).description.limits
    assert (limits.largest_batch, limits.most_in_flight, limits.rate) == (1, 64, None)


async def test_a_plugin_for_another_prefix_is_not_used():
    with pytest.raises(errors.PluginError, match="plugin demo does not answer for MINE but for A, DEMO"):
        await begin(Channel(Describe=pb.DescribeResponse(prefixes=["DEMO", "A"])), "MINE")


@pytest.mark.parametrize("calls", [0.0, -1.0, float("inf"), float("nan")])
async def test_a_rate_that_is_none_is_an_answer_that_is_invalid(calls):
    with pytest.raises(errors.PluginAnswerInvalid, match="rate limit"):
        await begin(Channel(Describe=pb.DescribeResponse(rate_limit=pb.RateLimit(calls_per_second=calls))))


async def test_a_description_that_cannot_be_read_and_one_that_is_not_given_are_the_plugins_errors():
    with pytest.raises(errors.PluginAnswerInvalid, match="describes itself"):
        await begin(Channel(Describe=b"\xff"))
    with pytest.raises(errors.PluginError, match="its description"):
        await begin(Channel(Describe=failing("UNIMPLEMENTED")))


# ------------------------------------------------------------------------------------------------------ configure


async def test_settings_arrive_as_a_struct():
    channel = Channel(Configure=pb.ConfigureResponse())
    await (await begin(channel)).configure("prod", {"region": "eu-west-1", "deep": {"list": [1, True, None]}})
    request = pb.ConfigureRequest.FromString(channel.requests[-1][1])
    assert request.connection == "prod"
    assert request.settings["region"] == "eu-west-1"
    assert list(request.settings["deep"]["list"]) == [1, True, None]


async def test_a_refused_configuration_says_why():
    error = pb.Error(kind="ERROR_KIND_INVALID", message="no setting regoin", hint="region?")
    protocol = await begin(Channel(Configure=pb.ConfigureResponse(error=error)))
    with pytest.raises(errors.InvalidConfiguration, match="plugin demo: no setting regoin") as caught:
        await protocol.configure("", {"regoin": "x"})
    assert caught.value.hint == "region?"
    assert caught.value.exit_code == errors.ExitCode.INVALID


# -------------------------------------------------------------------------------------------------------- resolve


async def test_the_request_has_paths_metadata_and_connection():
    channel = Channel(Resolve=[value(0)])
    protocol = await begin(channel)
    async for _ in protocol.resolve([Reference("DEMO", "/a", "k=v", "prod")], within=1):
        pass
    request = pb.ResolveRequest.FromString(channel.requests[-1][1])
    assert (request.connection, request.references[0].path, request.references[0].metadata) == ("prod", "/a", "k=v")


async def test_answers_come_in_any_order_with_all_that_is_known_of_them():
    protocol = await begin(
        Channel(
            Resolve=[
                response(2, error=pb.Error(kind="ERROR_KIND_NOT_FOUND", message="none")),
                value(1, b"\xff\x00"),
                value(0, version="7", ttl={"seconds": 90}, lease=pb.Lease(id="l", duration={"nanos": 500_000_000})),
            ]
        )
    )
    answers = {r.path: outcome async for r, outcome in protocol.resolve(REFERENCES, within=5)}
    assert list(answers) == ["/2", "/1", "/0"]
    assert answers["/1"].data.reveal() == b"\xff\x00"
    assert (answers["/1"].version, answers["/1"].ttl, answers["/1"].lease) == (None, None, None)
    assert (answers["/0"].version, answers["/0"].ttl, answers["/0"].lease) == ("7", 90.0, Lease("l", 0.5))


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("NOT_FOUND", "value-not-found"),
        ("DENIED", "access-denied"),
        ("CREDENTIALS", "credentials-refused"),
        ("INVALID", "reference-invalid"),
        ("THROTTLED", "backend-throttled"),
        ("UNAVAILABLE", "backend-unavailable"),
        ("TIMEOUT", "backend-timeout"),
        ("UNSPECIFIED", "backend-unavailable"),
        (99, "backend-unavailable"),
    ],
)
async def test_every_kind_of_error_has_its_own(kind, code):
    number = kind if isinstance(kind, int) else pb.ErrorKind.Value(f"ERROR_KIND_{kind}")
    error = pb.Error(kind=number, message="be\x1bcause", hint="do\nso", retry_after={"seconds": 3})
    answer = response(0, error=error)
    protocol = await begin(Channel(Resolve=[answer]))
    ((_, outcome),) = [pair async for pair in protocol.resolve(REFERENCES[:1], within=5)]
    assert (outcome.code, outcome.message, outcome.hint) == (code, "plugin demo: be cause", "do so")
    assert outcome.retry_after == 3.0


async def test_a_second_answer_an_unasked_one_and_a_missing_one_are_the_plugins_fault():
    for answers, said in (
        ([value(0), value(0)], "number 0 of its batch twice or unasked"),
        ([value(0), value(7)], "number 7 of its batch twice or unasked"),
        ([value(0)], "without one for DEMO /1[k=v] and 1 more"),
        ([value(0), b"\xff"], "what is not protocol 2"),
    ):
        seen, error = await ask(*answers)
        assert seen == [("/0", b"x")]
        assert isinstance(error, errors.PluginAnswerInvalid)
        assert said in error.message


async def test_several_answers_in_one_message_are_each_taken() -> None:
    together = pb.ResolveResponse(answers=[*value(2).answers, *value(0).answers])
    assert await ask(together, value(1)) == ([("/2", b"x"), ("/0", b"x"), ("/1", b"x")], None)


async def test_a_value_that_is_too_large_and_an_empty_answer_cost_their_own_references():
    seen, error = await ask(value(0, b"x" * 101), response(1), value(2))
    assert seen == [("/0", "plugin-answer-invalid"), ("/1", "plugin-answer-invalid"), ("/2", b"x")]
    assert error is None


async def test_a_call_that_fails_half_way_keeps_what_was_answered():
    seen, error = await ask(value(1), failing("DEADLINE_EXCEEDED"))
    assert seen == [("/1", b"x")]
    assert isinstance(error, errors.CallTimeout)
    assert "DEMO /0[k=v] and 1 more" in error.message


async def test_a_failure_after_the_last_answer_is_nobodys():
    assert await ask(value(0), value(1), value(2), failing("UNAVAILABLE")) == (
        [("/0", b"x"), ("/1", b"x"), ("/2", b"x")],
        None,
    )


async def test_a_stream_that_does_not_end_after_the_last_answer_holds_up_nobody():
    started = time.monotonic()
    seen, error = await ask(value(0), value(1), value(2), 60.0)
    assert (len(seen), error) == (3, None)
    assert time.monotonic() - started < 50


# ---------------------------------------------------------------------------------------------- watch and release


async def test_a_watch_names_what_changed_and_only_what_is_watched():
    protocol = await begin(
        Channel(
            Describe=pb.DescribeResponse(can_watch=True),
            Watch=[pb.WatchResponse(reference=2), pb.WatchResponse(), pb.WatchResponse(reference=3)],
        )
    )
    watch = protocol.watch(REFERENCES)
    assert [(await anext(watch)).path, (await anext(watch)).path] == ["/2", "/0"]
    with pytest.raises(errors.PluginAnswerInvalid, match="change of number 3"):
        await anext(watch)


async def test_a_plugin_that_cannot_watch_is_not_asked_to():
    protocol = await begin(Channel())
    with pytest.raises(errors.PluginError, match="cannot watch"):
        await anext(protocol.watch(REFERENCES))


async def test_leases_are_given_back_once_by_connection():
    leased = [value(n, lease=pb.Lease(id=f"l{n}")) for n in range(3)]
    channel = Channel(Resolve=leased, Release=pb.ReleaseResponse())
    protocol = await begin(channel)
    for connection in (None, "prod"):
        asked = [reference._replace(connection=connection) for reference in REFERENCES]
        assert len([pair async for pair in protocol.resolve(asked, within=5)]) == 3
    await protocol.release()
    await protocol.release()
    released = [pb.ReleaseRequest.FromString(data) for name, data in channel.requests if name == "Release"]
    assert [(one.connection, list(one.leases)) for one in released] == [
        ("", ["l0", "l1", "l2"]),
        ("prod", ["l0", "l1", "l2"]),
    ]


async def test_only_the_newest_lease_of_each_reference_is_kept_and_none_of_one_that_was_given_back():
    channel = Channel(Release=pb.ReleaseResponse())
    protocol = await begin(channel)
    for turn in range(50):
        channel.answers["Resolve"] = [value(n, lease=pb.Lease(id=f"l{n}.{turn}")) for n in range(3)]
        assert len([pair async for pair in protocol.resolve(REFERENCES, within=5)]) == 3
    await protocol.release_some(["l0.3", "l1.49", "unknown"], connection=None)
    await protocol.release_some(["l2.49"], connection="another")
    channel.answers["Resolve"] = [value(0)]  # no lease any more
    assert len([pair async for pair in protocol.resolve(REFERENCES[:1], within=5)]) == 1
    await protocol.release()
    released = [pb.ReleaseRequest.FromString(data) for name, data in channel.requests if name == "Release"]
    assert [list(one.leases) for one in released] == [["l1.49"], ["l2.49"]]


async def test_a_release_that_fails_stops_nobody():
    channel = Channel(Resolve=[value(0, lease=pb.Lease(id="l"))], Release=failing("UNAVAILABLE"))
    protocol = await begin(channel)
    assert len([pair async for pair in protocol.resolve(REFERENCES[:1], within=5)]) == 1
    await protocol.release()
    assert channel.requests[-1][0] == "Release"
