"""From an action of the settings to what does it. Each way is imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from injector.settings.actions import ExecAction, HttpAction, RolloutAction, SignalAction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from injector.settings.actions import Action
    from injector.telemetry.logs import Log


class Changes(Struct, frozen=True):
    """
    What an action is carried out for: the names of the changed `templates` and `outputs`, and the `digests` of all
    files that it covers, changed or not, as pairs of template and digest. All sorted.
    """

    templates: tuple[str, ...]
    outputs: tuple[str, ...]
    digests: tuple[tuple[str, str], ...] = ()


def carrier(
    environment: Mapping[str, str], pass_environment: Sequence[str], log: Log
) -> Callable[[Action, Changes], Awaitable[None]]:
    """
    What carries actions out, once each call; it raises NotifyError when that fails.

    Commands get of *environment* what plugins get of it, and what *pass_environment* names.
    """

    async def carry_out(action: Action, changes: Changes) -> None:
        match action:
            case SignalAction():
                from injector.notify.signals import send  # late: the others need none of it
                from injector.notify.threads import in_thread

                await in_thread(lambda: send(action))
            case ExecAction():
                from injector.notify.commands import run_command, variables
                from injector.notify.environment import inherited

                own = inherited(environment, pass_environment)
                await run_command(action, environment=own | variables(changes), log=log)
            case HttpAction():
                from injector.notify.requests import request

                await request(action)
            case RolloutAction():
                from injector.notify.environment import inherited
                from injector.notify.rollouts import restart

                await restart(action, changes, environment=inherited(environment, pass_environment), log=log)
            case _:
                assert_never(action)

    return carry_out
