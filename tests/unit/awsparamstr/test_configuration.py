"""The settings of a connection to Parameter Store."""

from __future__ import annotations

import pytest
from injector_awsparamstr.configuration import SCHEMA, ConnectionSettings, parse
from injector_awsparamstr.store import ParameterStore

from injector.sdk.errors import InvalidConfiguration

SETTINGS = {
    "region": "eu-west-1",
    "endpoint": "https://ssm.internal:8443",
    "roleArn": "arn:aws:iam::123456789012:role/app",
    "profile": "prod",
}


def test_all_settings_arrive_and_none_is_needed():
    assert parse(SETTINGS) == ConnectionSettings(
        "eu-west-1", "https://ssm.internal:8443", "arn:aws:iam::123456789012:role/app", "prod"
    )
    assert parse({}) == ConnectionSettings()
    assert parse({"region": "us-gov-west-1"}).region == "us-gov-west-1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("region", "hunter2"),
        ("region", 3),
        ("endpoint", "ssm.internal"),
        ("roleArn", "arn:aws:s3:::bucket"),
        ("profile", ""),
        ("profile", None),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(name, value):
    with pytest.raises(InvalidConfiguration, match=f"setting {name} ") as caught:
        parse({name: value})
    assert "hunter2" not in str(caught.value) + str(caught.value.hint)


def test_an_access_key_is_whole_and_does_not_print_itself():
    key = {"accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "hunter2", "sessionToken": "hunter3"}
    settings = parse(key)
    assert tuple(settings.access_key) == ("AKIAEXAMPLE", "hunter2", "hunter3")
    assert "hunter" not in repr(settings)
    for name in ("accessKeyId", "secretAccessKey"):
        with pytest.raises(InvalidConfiguration, match=f"without {name}") as caught:
            parse({field: value for field, value in key.items() if field != name})
        assert "hunter" not in str(caught.value)


def test_an_unknown_setting_is_refused_with_those_that_there_are():
    with pytest.raises(InvalidConfiguration, match="regoin") as caught:
        parse({"regoin": "eu-west-1"})
    assert "region, endpoint, roleArn, profile, accessKeyId" in str(caught.value.hint)


def test_the_description_says_what_a_host_needs():
    description = ParameterStore().describe()
    assert (description.prefixes, description.largest_batch, description.rate_limit) == (("AWSPARAMSTR",), 10, None)
    assert description.schema == SCHEMA
