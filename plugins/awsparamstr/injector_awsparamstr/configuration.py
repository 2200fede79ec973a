"""What the plugin takes as settings of a connection; all are optional and go before the environment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from injector.sdk.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "dependentRequired": {
        "accessKeyId": ["secretAccessKey"],
        "secretAccessKey": ["accessKeyId"],
        "sessionToken": ["accessKeyId", "secretAccessKey"],
    },
    "properties": {
        "region": {
            "type": "string",
            "pattern": "^[a-z]{2}(-[a-z]+)+-[0-9]+$",
            "description": "The AWS region; AWS_REGION when it is not given.",
        },
        "endpoint": {
            "type": "string",
            "pattern": "^https?://[^/]",
            "description": "Where SSM is, as a URL; AWS_ENDPOINT_URL_SSM when it is not given.",
        },
        "roleArn": {
            "type": "string",
            "pattern": "^arn:aws[a-z-]*:iam::[0-9]{12}:role/.",
            "description": "A role to assume by STS with the credentials that are found.",
        },
        "profile": {
            "type": "string",
            "pattern": "^[^\\s]",
            "description": "A profile of the AWS configuration files; AWS_PROFILE when it is not given.",
        },
        "accessKeyId": {
            "type": "string",
            "pattern": "^[A-Za-z0-9_]{4,128}$",
            "description": "An access key, with secretAccessKey; without, the AWS SDK looks for credentials.",
        },
        "secretAccessKey": {
            "type": "string",
            "pattern": "^[^\\s]+$",
            "writeOnly": True,
            "description": "The secret of accessKeyId.",
        },
        "sessionToken": {
            "type": "string",
            "pattern": "^[^\\s]+$",
            "writeOnly": True,
            "description": "The token of temporary credentials, with accessKeyId and secretAccessKey.",
        },
    },
}


class AccessKey(NamedTuple):
    """Credentials that were given, and not found by the AWS SDK. They are not printed."""

    key_id: str
    secret: str
    token: str | None = None

    def __repr__(self) -> str:
        return "AccessKey(***)"


class ConnectionSettings(NamedTuple):
    """Of one connection; None stands for what the environment says."""

    region: str | None = None
    endpoint: str | None = None
    role_arn: str | None = None
    profile: str | None = None
    access_key: AccessKey | None = None


def parse(settings: Mapping[str, Any]) -> ConnectionSettings:
    """The settings, checked against SCHEMA. InvalidConfiguration names a setting that is wrong, never its value."""
    properties: Mapping[str, Any] = SCHEMA["properties"]
    for name, value in settings.items():
        if name not in properties:
            raise InvalidConfiguration(
                f"awsparamstr has no setting {name!r}", hint=f"its settings are {', '.join(properties)}"
            )
        if not isinstance(value, str) or not re.search(properties[name]["pattern"], value):
            raise InvalidConfiguration(
                f"the setting {name} of awsparamstr is not usable", hint=str(properties[name]["description"])
            )
    for name, others in SCHEMA["dependentRequired"].items():
        if name in settings and (missing := [other for other in others if other not in settings]):
            raise InvalidConfiguration(
                f"awsparamstr is given {name} without {missing[0]}",
                hint="give accessKeyId and secretAccessKey",
            )
    access_key = None
    if "accessKeyId" in settings:
        access_key = AccessKey(settings["accessKeyId"], settings["secretAccessKey"], settings.get("sessionToken"))
    return ConnectionSettings(
        settings.get("region"), settings.get("endpoint"), settings.get("roleArn"), settings.get("profile"), access_key
    )
