"""From a token to the name that SSM is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from injector_awsparamstr.store import parameter_name

from injector.sdk.errors import InvalidReference
from injector.sdk.store import Reference

ARN = "arn:aws:ssm:eu-west-1:123456789012:parameter/app/db"


@pytest.mark.parametrize(
    ("path", "metadata", "name"),
    [
        ("/app/db", "", "/app/db"),
        ("db", "", "db"),
        (ARN, "", ARN),
        ("/app/db", "version=3", "/app/db:3"),
        (ARN, "version=12", f"{ARN}:12"),
        ("/app/db", "label=live", "/app/db:live"),
        ("/app/db", "label=_a.b-c9", "/app/db:_a.b-c9"),
    ],
)
def test_the_path_stands_as_written_with_the_selector_behind_it(path, metadata, name):
    assert parameter_name(Reference(path, metadata)) == name


@pytest.mark.parametrize(
    "metadata",
    [
        *("version=", "version=0", "version=01", "version=-1", "version=1.0", "version=²", "version=1\n", "version= 1"),
        *("label=", "label=1a", "label=a b", "label=a:b", "label=a\n", "label=" + "a" * 101),
        *("version=1,label=a", "Version=1", "region=x", "x"),
    ],
)
def test_other_metadata_is_refused(metadata):
    with pytest.raises(InvalidReference, match="/app/db"):
        parameter_name(Reference("/app/db", metadata))


def test_the_plugin_says_what_it_is_before_it_imports_the_aws_sdk():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "injector_awsparamstr"],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert done.returncode == 1
    assert "awsparamstr is a plugin of injector" in done.stderr
    assert "botocore" not in done.stderr
    assert "grpc" not in done.stderr
