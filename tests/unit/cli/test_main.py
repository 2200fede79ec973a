"""The frame around the sub-commands: help, suggestions, exit codes, defects that tell no data."""

from __future__ import annotations

import importlib
import json

import click
import pytest

from injector.cli import connection, plugin
from injector.cli import main as entry
from injector.errors import ExitCode, InjectorError


@pytest.mark.parametrize("commands", [entry.COMMANDS, plugin.COMMANDS, connection.COMMANDS])
def test_every_commands_short_help_is_its_own(commands: dict[str, tuple[str, str]]) -> None:
    for name, (module, text) in commands.items():
        command = importlib.import_module(module).command
        assert command.get_short_help_str(limit=200).rstrip(".") + "." == text, name


def test_the_help_lists_every_exit_code() -> None:
    for code in ExitCode:
        if code is not ExitCode.DIFFERENT:
            assert f"{code.value} " in entry.EPILOG


@pytest.mark.parametrize("arguments", [["rendr"], ["render"], ["render", "--nope", "x"], ["completion", "tcsh"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_misspelt_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    entry.main(["rendr"])
    assert "Did you mean 'render'?" in capsys.readouterr().err


def test_version_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["version", "--format", "json"]) == 0
    from injector.backends.goplugin import start

    assert json.loads(capsys.readouterr().out)["pluginProtocols"] == list(start._VERSIONS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["completion", shell]) == 0
    assert "_INJECTOR_COMPLETE" in capsys.readouterr().out


def test_the_tab_key_completes_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_INJECTOR_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "injector ren")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert entry.main([]) == 0
    assert "render" in capsys.readouterr().out


def test_the_tab_key_completes_the_commands_of_a_group(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_INJECTOR_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "injector plugin ")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert entry.main([]) == 0
    assert {"list", "lock", "verify", "install"} <= {line.partition(",")[2] for line in capsys.readouterr().out.split()}


def test_a_misspelt_command_of_a_group_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["plugin", "lokc"]) == 2
    assert "Did you mean 'lock'?" in capsys.readouterr().err


def test_a_fault_of_ours_is_told_without_the_data_it_was_about(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("canary-4711")

    monkeypatch.setattr(entry.LazyGroup, "invoke", broken)
    assert entry.main(["version"]) == entry.INTERNAL_ERROR
    shown = capsys.readouterr().err
    assert "canary" not in shown
    assert "RuntimeError" in shown


def test_every_leaf_of_the_error_tree_has_a_code_of_its_own() -> None:
    seen: dict[str, type[InjectorError]] = {}
    pending = [InjectorError]
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if "code" in vars(kind):
            assert kind.code not in seen, f"{kind} and {seen[kind.code]}"
            seen[kind.code] = kind
            assert kind.code == kind.code.lower()
            assert " " not in kind.code


def test_interrupting_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise click.Abort

    monkeypatch.setattr(entry.LazyGroup, "invoke", interrupted)
    assert entry.main(["version"]) == 130
