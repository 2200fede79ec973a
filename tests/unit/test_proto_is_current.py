"""The committed messages are what proto/ generates."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("generate_proto", ROOT / "tools" / "generate_proto.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.seed("002:7")
def test_committed_code_is_current(tool, capfd):
    assert tool.main(["--check"]) == 0, capfd.readouterr().out


@pytest.mark.parametrize(
    ("generated", "module"),
    [
        ("tokenstore/proto/token_store.pb.go", "tokenstore.v1.token_store_pb2"),
        ("protocol2/pluginv2/plugin.pb.go", "injector.plugin.v2.plugin_pb2"),
    ],
)
def test_the_code_of_the_go_examples_is_of_the_same_source(generated, module):
    # The generator for Go need not be there: what it generates holds the source's descriptor, as Python's does.
    code = (ROOT / "examples" / "plugins" / "go" / generated).read_text(encoding="utf-8")
    literals = re.split(r"const file_\w+_rawDesc = \"\"", code)[1].partition("\n\n")[0]
    text = "".join(ast.literal_eval(line) for line in re.findall(r'^\t(".*")', literals, re.MULTILINE))
    theirs = FileDescriptorProto.FromString(text.encode("latin-1"))
    for message in theirs.message_type:
        for field in message.field:
            field.ClearField("json_name")  # Python's has none
    ours = FileDescriptorProto()
    importlib.import_module(f"injector._proto.{module}").DESCRIPTOR.CopyToProto(ours)
    assert theirs == ours


def test_a_changed_source_is_noticed(tool, tmp_path, monkeypatch, capfd):
    sources = tmp_path / "proto"
    shutil.copytree(ROOT / "proto", sources)
    store = sources / "tokenstore" / "v1" / "token_store.proto"
    store.write_text(store.read_text().replace("bytes metadata = 2;", "bytes metadata = 3;"))
    monkeypatch.setattr(tool, "SOURCES", sources)
    assert tool.main(["--check"]) == 1
    printed = capfd.readouterr()
    assert "committed/tokenstore/v1/token_store_pb2.py" in printed.out
    assert "make proto" in printed.err


def test_a_module_without_a_source_is_noticed(tool, tmp_path):
    committed, generated = tmp_path / "committed", tmp_path / "generated"
    for tree in (committed, generated):
        tree.mkdir()
    (committed / "old_pb2.py").write_text("x = 1\n")
    assert any("old_pb2.py" in line for line in tool.stale(committed, generated))


@pytest.mark.seed("002:6")
def test_the_wire_names_are_those_of_configmanager_and_go_plugin():
    from injector._proto.goplugin import grpc_broker_pb2, grpc_controller_pb2, grpc_stdio_pb2
    from injector._proto.grpc_health.v1 import health_pb2
    from injector._proto.tokenstore.v1 import token_store_pb2

    modules = (token_store_pb2, grpc_controller_pb2, grpc_stdio_pb2, grpc_broker_pb2, health_pb2)
    methods = {
        f"/{service.full_name}/{method.name}"
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods >= {
        "/proto.TokenStore/Value",
        "/plugin.GRPCController/Shutdown",
        "/plugin.GRPCStdio/StreamStdio",
        "/plugin.GRPCBroker/StartStream",
        "/grpc.health.v1.Health/Check",
    }
    request = token_store_pb2.TokenValueRequest(token="t", metadata=b"m")
    assert request.SerializeToString() == b"\x0a\x01t\x12\x01m"
    assert token_store_pb2.TokenValueResponse(value="v").SerializeToString() == b"\x0a\x01v"
    assert grpc_stdio_pb2.StdioData(channel="STDERR", data=b"d").SerializeToString() == b"\x08\x02\x12\x01d"
