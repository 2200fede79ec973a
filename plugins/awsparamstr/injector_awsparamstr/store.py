"""Tokens to calls of SSM's GetParameter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from injector.sdk.errors import InvalidReference, Unavailable
from injector.sdk.store import LookupStore, Reference
from injector_awsparamstr.client import LazyClient
from injector_awsparamstr.failures import translated

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = re.compile(r"[1-9][0-9]{0,18}")
_LABEL = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,99}")  # SSM's rule; one that begins with a digit reads as a version


class ParameterStore(LookupStore):
    """
    AWSPARAMSTR: one GetParameter with decryption for each reference, with nothing repeated.

    The path is the parameter's name or ARN as SSM takes it. Metadata: `version=N` or `label=NAME`, not both.
    """

    def __init__(self) -> None:
        self._client = LazyClient()

    def prepare(self) -> None:
        """Imports the AWS SDK and builds the client while the host is still connecting."""
        self._client.get()

    def look_up(self, reference: Reference) -> str:
        """The parameter's value; a StringList is its items with commas, as SSM holds it."""
        name = parameter_name(reference)
        client = self._client.get()
        try:
            answer = client.get_parameter(Name=name, WithDecryption=True)
        except Exception as error:  # noqa: BLE001 - the SDK raises from four trees and the standard library
            raise translated(error, name=name, endpoint=self._client.endpoint) from None  # they carry the answer
        value = answer.get("Parameter", {}).get("Value")
        if not isinstance(value, str):
            raise Unavailable(f"{self._client.endpoint} answered without a value for parameter {name!r}")
        return value


def parameter_name(reference: Reference) -> str:
    """
    The `Name` of the request: the path, with `:version` or `:label` when the metadata asks for one.

    InvalidReference for metadata that this plugin does not know.
    """
    metadata = reference.metadata
    _refuse_unknown(reference, metadata)
    version, label = metadata.get("version"), metadata.get("label")
    if version is not None and label is not None:
        raise InvalidReference(
            f"parameter {reference.path!r}: version and label are both given",
            hint="a label stands for a version: give one",
        )
    if version is not None and not _VERSION.fullmatch(version):
        raise InvalidReference(
            f"parameter {reference.path!r}: {version!r} is no version", hint="versions are whole numbers from 1"
        )
    if label is not None and not _LABEL.fullmatch(label):
        raise InvalidReference(
            f"parameter {reference.path!r}: {label!r} is no label",
            hint="labels are letters, digits, '.', '-' and '_', and do not begin with a digit",
        )
    selector = version or label
    return f"{reference.path}:{selector}" if selector else reference.path


def _refuse_unknown(reference: Reference, metadata: Mapping[str, str]) -> None:
    unknown = sorted(metadata.keys() - {"version", "label"})
    if unknown:
        raise InvalidReference(
            f"parameter {reference.path!r}: unknown metadata {', '.join(map(repr, unknown))}",
            hint="this plugin knows version=N and label=NAME",
        )
