"""Host and SDK together: whatever a store does with a batch, every reference has exactly one outcome, its own."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from injector import errors
from injector.backends.goplugin.protocol2 import Protocol2
from injector.backends.goplugin.status import CallStatus, to_error
from injector.backends.goplugin.transport import CallFailed
from injector.model.references import Reference, Value
from injector.sdk import errors as told
from injector.sdk.hclog import Logger
from injector.sdk.protocol2 import Protocol2Service
from injector.sdk.store import Answer, Lease, TokenStore

ERRORS = (
    (told.NotFound, errors.ValueNotFound),
    (told.AccessDenied, errors.AccessDenied),
    (told.CredentialsRefused, errors.CredentialsRefused),
    (told.InvalidReference, errors.InvalidReference),
    (told.Throttled, errors.Throttled),
    (told.Unavailable, errors.BackendUnavailable),
    (told.TimedOut, errors.CallTimeout),
)


class Aborted(Exception):
    pass


class Context:
    """What the service needs of gRPC's; a real one is in tests/integration/test_protocol2.py."""

    def __init__(self):
        self.status = None

    def is_active(self):
        return True

    def abort(self, code, details):
        self.status = CallStatus(code.name, details)
        raise Aborted


class Channel:
    """The host's end of a connection whose other end is the SDK's service, in this process."""

    def __init__(self, service):
        self.service = service

    async def call(self, method, request, *, within):
        return getattr(self.service, method.rpartition("/")[2].lower())(request, Context())

    async def stream(self, method, request, *, within):
        context = Context()
        try:
            for answer in self.service.resolve(request, context):
                yield answer
        except Aborted:
            raise CallFailed(context.status) from None


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SECONDS = st.floats(0, 1e6)
VALUES = st.one_of(
    TEXT,
    st.binary(max_size=50),
    st.builds(Answer, st.binary(max_size=50), st.text("0123456789", max_size=3), st.none() | SECONDS),
    st.builds(lambda data, seconds: Answer(data, lease=Lease("id", seconds)), st.binary(max_size=5), SECONDS),
)
FAILURES = st.sampled_from(range(len(ERRORS)))
SILENCE = st.none()


@given(
    plan=st.dictionaries(st.tuples(TEXT, TEXT), st.one_of(VALUES, FAILURES, SILENCE), min_size=1, max_size=30),
    order=st.randoms(use_true_random=False),
    together=st.booleans(),
    echo=st.booleans(),
    breaks_off=st.integers(0, 60),
)
def test_each_reference_of_a_batch_has_its_own_answer_exactly_once(plan, order, together, echo, breaks_off):
    class Store(TokenStore):
        def resolve(self, references):
            answers = self.answers(references)
            return list(answers) if together else answers

        def answers(self, references):
            assert {(one.path, one.raw_metadata) for one in references} == plan.keys()
            shuffled = order.sample(references, len(references))
            for count, one in enumerate(shuffled):
                if count == breaks_off:
                    raise told.Throttled("enough", retry_after=1.5)
                said = plan[one.path, one.raw_metadata]
                if said is None:
                    continue
                yield one, ERRORS[said][0]("because") if isinstance(said, int) else said
                if echo:
                    yield one, "a second answer"

    service = Protocol2Service(
        Store(), Logger("test", fd=-1), name="test", version="1", workers=3, begin=lambda context: True
    )
    asked = [Reference("TEST", path, metadata) for path, metadata in plan]
    answers = asyncio.run(collect(service, asked))
    assert answers.keys() == set(asked)
    broke_off = breaks_off < len(asked)
    for reference, outcome in answers.items():
        said = plan[reference.path, reference.metadata]
        if broke_off and isinstance(outcome, errors.Throttled) and "enough" in outcome.message:
            assert outcome.retry_after == 1.5
        elif said is None:
            assert isinstance(outcome, errors.PluginAnswerInvalid)
        elif isinstance(said, int):
            assert type(outcome) is ERRORS[said][1]
        else:
            assert isinstance(outcome, Value)
            check(outcome, said if isinstance(said, Answer) else Answer(said))


def check(value, answer):
    data = answer.value
    assert value.data.reveal() == (data.encode() if isinstance(data, str) else data)
    assert value.version == (answer.version or None)
    assert (value.ttl is None) == (answer.ttl is None)
    if answer.ttl is not None:
        assert abs(value.ttl - answer.ttl) < 1e-6
    assert (value.lease is None) == (answer.lease is None)


async def collect(service, asked):
    async def explain(failure, what):
        return to_error(failure.status, plugin="plugin test", reference=what)

    protocol = await Protocol2.begin(
        Channel(service), "plugin test", prefix="TEST", max_value_bytes=1000, explain=explain, clean=str
    )
    answers = {}
    try:
        async for reference, outcome in protocol.resolve(asked, within=5):
            assert reference not in answers
            answers[reference] = outcome
    except errors.InjectorError as error:
        for reference in asked:
            answers.setdefault(reference, error)
    return answers
