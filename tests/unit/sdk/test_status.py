"""Errors as gRPC statuses."""

from __future__ import annotations

from urllib.parse import unquote

import grpc
import pytest

from injector import errors
from injector.sdk.answers import StoreFault
from injector.sdk.status import status_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ValueNotFound, "NOT_FOUND"),
        (errors.KeyNotFound, "NOT_FOUND"),
        (errors.AccessDenied, "PERMISSION_DENIED"),
        (errors.CredentialsRefused, "UNAUTHENTICATED"),
        (errors.Throttled, "RESOURCE_EXHAUSTED"),
        (errors.BackendUnavailable, "UNAVAILABLE"),
        (errors.CallTimeout, "DEADLINE_EXCEEDED"),
        (errors.DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (errors.InvalidReference, "INVALID_ARGUMENT"),
        (errors.ResolutionError, "UNKNOWN"),
    ],
)
def test_each_leaf_has_its_status_and_tells_its_code(error, code):
    status = status_of(error("what happened"))
    assert (status.code, status.details) == (code, "what happened")
    assert grpc.StatusCode[status.code].name == code
    assert dict(status.trailers)["injector-error-code"] == error.code


def test_every_resolution_error_of_the_tree_has_a_status():
    def leaves(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from leaves(child)

    unknown = [kind for kind in leaves(errors.ResolutionError) if status_of(kind("x")).code == "UNKNOWN"]
    assert unknown == [errors.ResolutionError, errors.DeniedError]  # never raised themselves


def test_message_hint_and_delay_are_restored_from_ascii():
    status = status_of(errors.Throttled("größe\n» 100 %", hint="später", retry_after=0.25))
    trailers = dict(status.trailers)
    assert all(value.isascii() and value.isprintable() for value in trailers.values())
    assert unquote(trailers["injector-error-message"]) == "größe\n» 100 %"
    assert unquote(trailers["injector-error-hint"]) == "später"
    assert float(trailers["injector-retry-after"]) == 0.25


@pytest.mark.parametrize("delay", [None, float("nan"), float("inf"), -1.0])
def test_a_delay_that_is_none_is_left_out(delay):
    assert "injector-retry-after" not in dict(status_of(errors.Throttled("x", retry_after=delay)).trailers)


@pytest.mark.parametrize("text", ["é" * 100_000, "値" * 100_000, "x" * 100_000, "\ud800" * 9])
def test_long_texts_are_cut_so_that_the_header_block_stays_below_8_kib(text):
    status = status_of(errors.ValueNotFound(text, hint=text))
    encoded_details = len(status.details.encode()) * 3
    assert encoded_details + sum(len(key) + len(value) for key, value in status.trailers) < 8192


def test_of_a_foreign_exception_only_the_type_is_told():
    status = status_of(KeyError("hunter2"))
    assert (status.code, status.trailers) == ("UNKNOWN", ())
    assert "KeyError" in status.details
    assert "hunter2" not in status.details


def test_a_store_that_breaks_its_contract_is_an_internal_error():
    assert status_of(StoreFault("no answer")).code == "INTERNAL"
