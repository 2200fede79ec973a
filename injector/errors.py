"""
The one error tree. Every leaf has a stable code, an exit code, and room for a place and a remedy.

    InjectorError
    ├─ UsageError               2  flags that contradict each other
    ├─ SettingsError            3  settings file, INJECTOR_* variable or flag
    ├─ InputError               3  a template cannot be read
    ├─ TemplateError            3  a token is written wrongly; always has a place
    ├─ ResolutionError             a reference has no value
    │  ├─ MissingError          4  the policy `on_missing` may forgive these
    │  ├─ InvalidReference      3
    │  ├─ InvalidConfiguration  3
    │  ├─ UnavailableError      5  may go away by itself: `resolve` retries the retryable ones
    │  └─ DeniedError           6
    ├─ PluginError              7  the program that should have answered
    ├─ CheckError            8  a rendered file would not be what its template says
    ├─ OutputError              9  the result cannot be put where it belongs
    ├─ CommandError                the command of `exec`: 127 not found, 126 not executable, 3 a bad variable
    ├─ NotifyError              9  nobody could be told that files changed
    ├─ AdmissionRefused         3  a pod asks for what cannot be; it is not made
    ├─ ReviewInvalid            3  a request to the webhook that is no admission review
    ├─ CertificateInvalid       3  a certificate and key that cannot be served
    ├─ ClusterError             5  the API server could not be asked, or said no
    └─ RunFailed                   several of the above, reported together

Messages say what, where and what to do; they never hold a secret's value nor a backend's raw answer. Foreign
exceptions that carry values (JSONDecodeError.doc, UnicodeDecodeError.object, YAML errors) are dropped with `from None`
where they are caught. One file on purpose, however long: the tree is read as a whole.
"""

from __future__ import annotations

import copy
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self


class ExitCode(IntEnum):
    """The process's answer; documented in docs/exit-codes.md and stable."""

    DONE = 0
    DIFFERENT = 1
    USAGE = 2
    INVALID = 3
    MISSING = 4
    UNAVAILABLE = 5
    DENIED = 6
    PLUGIN = 7
    CHECK = 8
    OUTPUT = 9
    STALE = 10
    NOT_EXECUTABLE = 126
    COMMAND_NOT_FOUND = 127


# Several errors, one exit code: what no retry and no permission cures comes first.
_PRECEDENCE = (
    ExitCode.USAGE,
    ExitCode.INVALID,
    ExitCode.PLUGIN,
    ExitCode.DENIED,
    ExitCode.MISSING,
    ExitCode.CHECK,
    ExitCode.OUTPUT,
    ExitCode.UNAVAILABLE,
)


class Place(NamedTuple):
    """
    Where in a template something is.

    `line` and `column` count from 1, `column` in characters. `excerpt` is that line, cut to a window around the
    place; the caret goes under `excerpt[caret : caret + length]`.
    """

    file: str
    line: int
    column: int
    excerpt: str = ""
    caret: int = 0
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class InjectorError(Exception):
    """
    Base of all errors that are meant for the user.

    `str(error)` is the message alone. `hint` is what to do about it, `place` where it was found, `token` the token's
    text without its value.
    """

    code: ClassVar[str] = "injector-error"
    exit_code: ExitCode = ExitCode.INVALID
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, hint: str | None = None, place: Place | None = None, token: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place
        self.token = token

    def at(self, place: Place, *, token: str | None = None) -> Self:
        """A copy of this error that knows its place: one failed fetch is reported at each of its tokens."""
        located = copy.copy(self)
        located.place = place
        located.token = token
        located.__cause__ = self.__cause__
        return located


class UsageError(InjectorError):
    """The command line asks for something that cannot be."""

    code = "usage"
    exit_code = ExitCode.USAGE


# ---------------------------------------------------------------------------------------------- settings and input


class SettingsError(InjectorError):
    """A settings file, an INJECTOR_* variable or a flag holds something unusable."""

    code = "settings-invalid"
    exit_code = ExitCode.INVALID


class SettingsNotFound(SettingsError):
    """The settings file does not exist."""

    code = "settings-not-found"


class UnknownSetting(SettingsError):
    """A settings file or a variable has a key that there is not."""

    code = "settings-unknown-key"


class AccountUnknown(SettingsError):
    """`owner` or `group` names nobody."""

    code = "account-unknown"


class PluginPathNotFound(SettingsError):
    """A plugin path that was asked for by name does not exist."""

    code = "plugin-path-not-found"


class ListenFailed(SettingsError):
    """The address or the socket to serve on cannot be had: in use, not permitted, or not there."""

    code = "listen-failed"


class PluginLockNotFound(SettingsError):
    """A lock file that was asked for by name, or that `plugins.verify` requires, does not exist."""

    code = "plugin-lock-not-found"


class PluginLockInvalid(SettingsError):
    """A lock file cannot be read, or says something that this version does not understand."""

    code = "plugin-lock-invalid"


class FixturesInvalid(SettingsError):
    """A file of values that stand in for stores (`--values`) cannot be used."""

    code = "fixtures-invalid"


class KeyFileInvalid(SettingsError):
    """A file that should hold a key does not, or others may read it."""

    code = "key-file-invalid"


class SealBroken(SettingsError):
    """Something that was sealed does not open."""

    code = "seal-broken"


class ConnectionInvalid(SettingsError):
    """What should be a connection has no proper name, prefix or field, or cannot be read."""

    code = "connection-invalid"


class ConnectionUnknown(SettingsError):
    """There is no connection of that name."""

    code = "connection-unknown"


class ConnectionExists(SettingsError):
    """A connection of that name is there."""

    code = "connection-exists"


class ConnectionStoreInvalid(SettingsError):
    """The store of connections is damaged, of another program or version, or open to others than its owner."""

    code = "connection-store-invalid"


class InputError(InjectorError):
    """A template cannot be read."""

    code = "input-unreadable"
    exit_code = ExitCode.INVALID


class InputNotFound(InputError):
    """A template that was named does not exist."""

    code = "input-not-found"


class InputLoop(InputError):
    """Symbolic links of a template directory lead in a circle."""

    code = "input-symlink-loop"


class InputChanged(InputError):
    """A mounted set of templates was replaced while it was being read; another attempt reads the new one."""

    code = "input-changed"


class PluginSourceInvalid(InputError):
    """What `injector plugin build` or `plugin new` was given makes no plugin."""

    code = "plugin-source-invalid"


class InputCollision(InputError):
    """Two templates would be written to one output."""

    code = "input-collision"


# -------------------------------------------------------------------------------------------------------- template


class TemplateError(InjectorError):
    """A template is not well formed. `place` is always set."""

    code = "template-invalid"
    exit_code = ExitCode.INVALID


class EmptyPath(TemplateError):
    """A token ends right behind its separator."""

    code = "token-path-empty"


class EmptyKeyPath(TemplateError):
    """A token has a key separator and no key behind it."""

    code = "token-key-path-empty"


class MetadataUnclosed(TemplateError):
    """The brackets of a token's metadata are not closed on their line."""

    code = "token-metadata-unclosed"


class MetadataInvalid(TemplateError):
    """A token's metadata is not `[name=value,name=value]`, or a value in it is none of those that there are."""

    code = "token-metadata-invalid"


class TokenUnclosed(TemplateError):
    """A delimited token `{{ … }}` does not end on its line."""

    code = "token-unclosed"


class TokenNotText(TemplateError):
    """A token holds bytes that are not UTF-8."""

    code = "token-not-utf8"


class UnknownPrefix(TemplateError):
    """A word before a separator is nearly a prefix, and so is copied as it stands. Told as a warning."""

    code = "token-prefix-unknown"


class NotInFormat(TemplateError):
    """A template is not written in the format of its output, or a token stands where that format has no value."""

    code = "template-not-in-format"


class VariableUnset(TemplateError):
    """`--envsubst` met a variable that is unset or empty and has no default."""

    code = "variable-unset"


# ------------------------------------------------------------------------------------------------------ resolution


class ResolutionError(InjectorError):
    """
    A reference has no value.

    `retry_after` is the delay in seconds that the backend asked for, if it did.
    """

    code = "resolution-failed"
    exit_code = ExitCode.UNAVAILABLE

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        place: Place | None = None,
        token: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, place=place, token=token)
        self.retry_after = retry_after


class MissingError(ResolutionError):
    """The store answered: there is no such thing. The policy `on_missing` decides what follows."""

    exit_code = ExitCode.MISSING


class ValueNotFound(MissingError):
    """The store has no such value."""

    code = "value-not-found"


class KeyNotFound(MissingError):
    """The value has no such key."""

    code = "key-not-found"


class KeyAmbiguous(MissingError):
    """A key path fits several places of the value."""

    code = "key-ambiguous"


class ValueEmpty(MissingError):
    """A WASM plugin gave no bytes and no error; a panic in it looks the same, so that this is no value."""

    code = "value-empty"


class NotStructured(MissingError):
    """A key was asked of a value that is not JSON (or what else its backend says that it is)."""

    code = "value-not-structured"


class InvalidReference(ResolutionError):
    """The backend cannot make sense of the path or the metadata; nothing was looked up."""

    code = "reference-invalid"
    exit_code = ExitCode.INVALID


class InvalidConfiguration(ResolutionError):
    """The backend cannot make sense of the settings that it was given; nothing was looked up."""

    code = "configuration-invalid"
    exit_code = ExitCode.INVALID


class UnavailableError(ResolutionError):
    """The backend gave no answer. Nothing is known about the value."""

    exit_code = ExitCode.UNAVAILABLE


class BackendUnavailable(UnavailableError):
    """The store cannot be reached, or is out of order."""

    code = "backend-unavailable"
    retryable = True


class Throttled(UnavailableError):
    """The store takes no more calls for the moment, and went on refusing them."""

    code = "backend-throttled"
    retryable = True


class CallTimeout(UnavailableError):
    """The store, or the plugin that asks it, did not answer in the time of one call."""

    code = "backend-timeout"
    retryable = True


class DeadlineExceeded(UnavailableError):
    """The whole run's time is up; this reference was not answered in it."""

    code = "deadline-exceeded"


class NoAnswer(UnavailableError):
    """No sidecar answers where one should, or not in time."""

    code = "sidecar-no-answer"


class DeniedError(ResolutionError):
    """The backend knows us, or does not want to, and says no."""

    exit_code = ExitCode.DENIED


class AccessDenied(DeniedError):
    """The store knows who asks, and does not let them have the value."""

    code = "access-denied"


class CredentialsRefused(DeniedError):
    """Credentials are missing, wrong or expired: nobody was identified."""

    code = "credentials-refused"


# --------------------------------------------------------------------------------------------------------- plugins


class PluginError(InjectorError):
    """A plugin cannot be used. The message names the plugin, its path and the cause."""

    code = "plugin-failed"
    exit_code = ExitCode.PLUGIN


class PluginNotFound(PluginError):
    """No installed plugin answers for a token's prefix."""

    code = "plugin-not-found"


class PluginRefused(PluginError):
    """A file is there, and may not or cannot be run: not executable, another platform, writable by others."""

    code = "plugin-refused"


class PluginIntegrity(PluginError):
    """The plugin's bytes are not those of the lock file, or of the checksum that was given. Nothing of it was run."""

    code = "plugin-checksum-mismatch"


class PluginNotLocked(PluginError):
    """There is a lock file, and it does not name this plugin for this platform."""

    code = "plugin-not-locked"


class PluginInstallFailed(PluginError):
    """What was to be installed is no plugin program for that platform, too large, or comes over an unsafe way."""

    code = "plugin-install-failed"


class PluginSourceUnavailable(PluginError):
    """The server of a plugin that is to be installed did not deliver it; trying again may help."""

    code = "plugin-source-unavailable"
    exit_code = ExitCode.UNAVAILABLE


class PluginStartFailed(PluginError):
    """The program could not be executed, or ended before it said anything."""

    code = "plugin-start-failed"


class PluginStartTimeout(PluginError):
    """The plugin's program runs, and did not say in time that it is ready."""

    code = "plugin-start-timeout"


class HandshakeFailed(PluginError):
    """The program's first line is not a handshake that we can use."""

    code = "plugin-handshake-failed"


class PluginCrashed(PluginError):
    """The plugin's process ended, or dropped its connection, while a call was under way."""

    code = "plugin-crashed"
    retryable = True  # once: see `resolve`


class PluginKeepsCrashing(PluginError):
    """A plugin was lost so often in a row that it is not restarted now, or not at all any more."""

    code = "plugin-keeps-crashing"


class PluginAnswerInvalid(PluginError):
    """The plugin answered with something that is no value: too large, or not what the protocol says."""

    code = "plugin-answer-invalid"


class WasmRuntimeMissing(PluginError):
    """A plugin is a WASM module, and the package that runs such modules is not installed."""

    code = "wasm-runtime-missing"


class PluginGuestFailed(PluginError):
    """A WASM plugin's code ended without an answer: a trap, an exit, no memory or stack left."""

    code = "plugin-guest-failed"


class PluginHttpRefused(PluginError):
    """A WASM plugin asked for a URL, an address or a signature that its connection does not grant. Nothing was sent."""

    code = "plugin-http-refused"


class PluginBuildFailed(PluginError):
    """A tool that `injector plugin build` uses failed, or a dependency cannot be put into a single file."""

    code = "plugin-build-failed"


# ---------------------------------------------------------------------------------------------------- rendered file


class CheckError(InjectorError):
    """A rendered file would not be what its template says; it is not published, and the old one stays."""

    code = "check-error"
    exit_code = ExitCode.CHECK


class ValueUnfit(CheckError):
    """A value cannot be written at its token's place: the format has no spelling for it there."""

    code = "value-unfit"


class CheckFailed(CheckError):
    """A rendered file does not read back as it should, or the check command refused it."""

    code = "check-failed"


# ---------------------------------------------------------------------------------------------------------- output


class OutputError(InjectorError):
    """A result cannot be put where it belongs. What was there before is untouched."""

    code = "output-unwritable"
    exit_code = ExitCode.OUTPUT

    @classmethod
    def of_stdout(cls, error: OSError) -> OutputError:
        """For a standard output that is closed, or whose disk is full."""
        reason = (error.strerror or "unknown reason").lower()
        return cls(f"standard output cannot be written: {reason}", hint="see where it leads to")


class OutputPartlyWritten(OutputError):
    """The disk failed between two renames: the message names the files that have their new content already."""

    code = "output-partly-written"


class OutputUnreadable(OutputError):
    """What lies at an output's place cannot be read, so it is not known what a render would change."""

    code = "output-unreadable"


class OutputOutsideRoot(OutputError):
    """The path leads out of the output directory, by `..` or by a symbolic link."""

    code = "output-outside-root"


class ConnectionStoreUnwritable(OutputError):
    """The store of connections or the master key's file cannot be written; what was in it is as it was."""

    code = "connection-store-unwritable"


class ProjectExists(OutputError):
    """The directory of a new project has something in it."""

    code = "project-exists"


# --------------------------------------------------------------------------------------------------------- command


class CommandError(InjectorError):
    """The command of `injector exec`, or its environment, cannot be used."""

    code = "command-invalid"
    exit_code = ExitCode.INVALID


class EnvironmentInvalid(CommandError):
    """A template of environment variables, or a value, makes no variable. `place` is set."""

    code = "environment-invalid"


class CommandNotFound(CommandError):
    """The command of `injector exec` does not exist."""

    code = "command-not-found"
    exit_code = ExitCode.COMMAND_NOT_FOUND


class CommandNotExecutable(CommandError):
    """The command of `injector exec` is there, and cannot be run."""

    code = "command-not-executable"
    exit_code = ExitCode.NOT_EXECUTABLE


# ---------------------------------------------------------------------------------------------------- notification


class NotifyError(InjectorError):
    """
    The application could not be told that its files changed. The files themselves are published.

    `retry_after` is the delay in seconds that the other side asked for, if it did.
    """

    code = "notify"
    exit_code = ExitCode.OUTPUT

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class NotifyFailed(NotifyError):
    """A command ended badly, a server answered otherwise than expected, or there was none."""

    code = "notify-failed"


class NotifyNoProcess(NotifyError):
    """There is no process to send a signal to, or it is not certain that it is the right one."""

    code = "notify-no-process"


class NotifyTimeout(NotifyError):
    """It took too long, and was broken off."""

    code = "notify-timeout"


class NotifyDenied(NotifyError):
    """The system, the server or the cluster does not let us."""

    code = "notify-denied"


class NotifyNotFound(NotifyError):
    """The program to run, or the workload to restart, does not exist."""

    code = "notify-not-found"


class NotifyPostponed(NotifyError):
    """It is too early: the same workload was restarted a moment ago. No failure; `retry_after` is set."""

    code = "notify-postponed"


# --------------------------------------------------------------------------------------------------------- webhook


class AdmissionRefused(InjectorError):
    """A pod's annotations are wrong, or contradict each other or the pod. The message names the annotation."""

    code = "admission-refused"


class ReviewInvalid(InjectorError):
    """What was sent to the webhook is no admission review of a pod. `status` is the HTTP status that says so."""

    code = "review-invalid"

    def __init__(self, message: str, *, status: int = 400, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class CertificateInvalid(InjectorError):
    """A certificate and its key cannot be read, are not in PEM, or do not belong together."""

    code = "certificate-invalid"


class ClusterError(InjectorError):
    """The API server could not be asked, or refused. `status` is its HTTP status; None when there was no answer."""

    code = "cluster-error"
    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, message: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RunFailed(InjectorError):
    """
    Several errors of one run, in the order of their places.

    `exit_code` is that of the error which is hardest to cure: invalid input, then plugin, denial, missing value,
    output, and last what may go away by itself.
    """

    code = "run-failed"

    def __init__(self, errors: Iterable[InjectorError]) -> None:
        self.errors = tuple(errors)
        if not self.errors:
            raise ValueError("RunFailed needs at least one error")
        super().__init__(f"{len(self.errors)} error{'s' if len(self.errors) > 1 else ''}")
        codes = {error.exit_code for error in self.errors}
        self.exit_code = next((code for code in _PRECEDENCE if code in codes), self.errors[0].exit_code)
