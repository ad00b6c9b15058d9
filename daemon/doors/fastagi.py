"""The FastAGI door: Asterisk connects for each script that a dialplan calls, sends what call it is, and is told what to do.

The protocol has neither passwords nor time limits. So only certain networks are answered, everything that is waited
for has a limit, and every connection is closed here: Asterisk would wait for ever, the caller with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import perf_counter
from typing import Final, cast

import structlog

from daemon.doors.agi_protocol import MAX_ENVIRONMENT, MAX_LINE, Environment, NotAgi, Replies, read_environment
from daemon.doors.agi_scripts import UNKNOWN_SCRIPT, Call, Command, HungUp, Script, ivr, refuse, verify
from daemon.doors.dialogue import Prompt
from daemon.doors.surroundings import Surroundings
from daemon.verify import Verification
from loader.door_sections import FastAgi
from loader.errors import InvalidValue, SettingsError
from loader.index import MAX_TOLD, Question
from loader.networks import Networks

log = structlog.get_logger(__name__)

DOOR: Final = "fastagi"
"""The door's name in metrics and settings."""

_BACKLOG: Final = 1024
"""Connections that may wait to be accepted: a thousand callers may join in the same second."""
_BETWEEN_LOOKS: Final = 0.1
"""Seconds between two looks for connections that are overdue."""
_HANGUP: Final = b"HANGUP"
"""The line that Asterisk sends, between replies, when the caller has hung up."""


@asynccontextmanager
async def serving(settings: FastAgi, surroundings: Surroundings) -> AsyncGenerator[int]:
    """The door, open; its port. At the end scripts under way may finish for a while. Raises PortError, SettingsError."""
    loop = asyncio.get_running_loop()
    door = FastAgiDoor(settings, surroundings, loop)
    try:
        async with surroundings.ports.accepting(
            lambda: _Connection(door, loop), f"doors.{DOOR}.port", settings.host, settings.port, backlog=_BACKLOG
        ) as port:
            yield port
    finally:
        await door.drain(surroundings.drain_timeout())


class FastAgiDoor:
    """What the connections have in common. Raises SettingsError."""

    def __init__(self, settings: FastAgi, surroundings: Surroundings, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.settings = settings
        self.dropped: Final = surroundings.metrics.dropped(DOOR)
        self.connections: set[_Connection] = set()
        self._outbox: list[tuple[_Connection, Command | None]] = []
        self._verify = surroundings.verifier(DOOR).verify
        self._roll = surroundings.roll(DOOR)
        self._when_kept = surroundings.rolls.when_kept
        self._networks = _networks(settings.allow)
        self._missing: set[Prompt] = set()
        """Prompts that Asterisk has no sound for, as far as it is known; each is told once."""
        self._drained: asyncio.Future[None] | None = None

    def refusal(self, address: str) -> str | None:
        """Why nobody from this address is answered now; None if he is."""
        if address not in self._networks:
            return "not_allowed"
        if self._drained is not None:
            return "stopped"
        return "too_many" if len(self.connections) >= self.settings.max_connections else None

    def script(self, environment: Environment) -> Script | None:
        """What is to be done for this call; None if it is done."""
        call_id = environment.call_id[:MAX_TOLD]
        if environment.script == "joined":
            self._roll.joined(call_id)
            return None
        if environment.script == "left":
            self._roll.left(call_id)
            return None
        call = Call(self.settings, self._decide(call_id, environment.caller), self.dropped, self._tell_missing)
        if environment.script == "verify":
            return verify(environment.arguments, call)
        return ivr(call) if environment.script == "ivr" else refuse(UNKNOWN_SCRIPT, call)

    def _decide(self, call_id: str, caller: str | None) -> Callable[[str, str], Verification | None]:
        caller = caller and caller[:MAX_TOLD]

        def decide(passcode: str, pin: str) -> Verification | None:
            try:
                verification = self._verify(Question(passcode, pin, call_id, caller), perf_counter())
            except Exception as error:
                log.error("verification_failed", door=DOOR, exc_info=error)
                self.dropped("failed")
                return None
            if verification is None:
                self.dropped("not_loaded")
            return verification

        return decide

    def _tell_missing(self, prompt: Prompt) -> None:
        if prompt not in self._missing:
            self._missing.add(prompt)
            log.warning("sound_not_found", door=DOOR, setting=f"doors.{DOOR}.prompts.{prompt.value}")

    # Connections

    def begun(self, connection: _Connection) -> None:
        """There is one more."""
        self.connections.add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(_BETWEEN_LOOKS, self._look)

    def ended(self, connection: _Connection) -> None:
        """A connection is no more."""
        self.connections.discard(connection)
        if self._drained is not None and not self.connections and not self._drained.done():
            self._drained.set_result(None)

    def send(self, connection: _Connection, command: Command | None) -> None:
        """Have this sent, or the connection closed, once all that was told is kept: together with all of this turn."""
        if not self._outbox:
            self._loop.call_soon(self._send_all)
        self._outbox.append((connection, command))

    def _send_all(self) -> None:
        leaving, self._outbox = self._outbox, []
        self._when_kept(partial(_let_go, leaving))

    def _look(self) -> None:
        """Close what is overdue. One timer for all costs less than one for each."""
        now = self._loop.time()
        for connection in list(self.connections):
            connection.close_overdue(now)
        self._timer = self._loop.call_later(_BETWEEN_LOOKS, self._look) if self.connections else None

    async def drain(self, seconds: float) -> None:
        """Wait until all scripts have ended, at most so long, and close what is left."""
        self._drained = self._loop.create_future()
        if self.connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await asyncio.shield(self._drained)
            for connection in list(self.connections):
                connection.close("stopped")
            await self._drained
        if self._timer is not None:
            self._timer.cancel()


class _Connection(asyncio.Protocol):
    """One script for one call."""

    __slots__ = (
        "_command",
        "_door",
        "_due",
        "_ends",
        "_is_open",
        "_loop",
        "_received",
        "_replies",
        "_script",
        "_transport",
    )

    def __init__(self, door: FastAgiDoor, loop: asyncio.AbstractEventLoop) -> None:
        self._door = door
        self._loop = loop
        self._received = b""
        self._replies = Replies()
        self._script: Script | None = None
        self._command: Command | None = None
        """The command that waits for its reply."""
        self._is_open = False
        self._ends: float
        """When all must be over, by the loop's clock; `_due` is when what is waited for must be there."""
        self._due: float
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._is_open = True
        door = self._door
        peer = transport.get_extra_info("peername")
        why = door.refusal(peer[0]) if peer else "hung_up"
        if why is not None:
            self.close(why)
            return
        self._ends = self._loop.time() + door.settings.deadline
        self._wait(door.settings.reply_timeout)
        door.begun(self)

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            return
        self._received += data
        try:
            following = self._begun() if self._script is None else None
            if self._script is not None and self._received:
                following = self._heard(self._script) or following
            if following is not None:
                self._wait(following.seconds)
                self._door.send(self, following)
        except StopIteration:
            # Asterisk takes the end for the answer: what was told must be kept by then.
            self._door.send(self, None)
        except NotAgi:
            self.close("garbage")
        except HungUp:
            self.close("hung_up")
        except Exception as error:
            log.error("script_failed", door=DOOR, exc_info=error)
            self.close("failed")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it was lost makes no difference
        self.close("hung_up")
        self._door.ended(self)

    def close(self, why: str | None = None) -> None:
        """End it at once, whatever is under way; `why` is counted if it was not meant to end now."""
        if not self._is_open:
            return
        self._is_open = False
        self._transport.abort()
        if self._script is not None:
            self._script.close()
        if why is not None:
            self._door.dropped(why)

    def _begun(self) -> Command | None:
        """The first command, once the environment is whole. Raises StopIteration if there is none."""
        end = self._received.find(b"\n\n") + 1
        if (end or len(self._received)) > MAX_ENVIRONMENT:
            raise NotAgi
        if not end:
            return None
        block, self._received = self._received[:end], self._received[end + 1 :]
        self._script = self._door.script(read_environment(block))
        if self._script is None:
            raise StopIteration
        return next(self._script)

    def _heard(self, script: Script) -> Command | None:
        """The next command, if a reply has come. Raises StopIteration after the last one."""
        *lines, self._received = self._received.split(b"\n")
        if len(self._received) > MAX_LINE:
            raise NotAgi
        following = None
        for line in lines:
            if line == _HANGUP:
                raise HungUp
            if self._command is None:
                # What comes before it was asked for is no answer.
                raise NotAgi
            reply = self._replies.read(line)
            if reply is not None:
                self._command = None
                following = script.send(reply)
        return following

    def send(self, command: Command) -> None:
        """What was told before is kept."""
        if self._is_open:
            self._command = command
            self._transport.write(command.line)

    def _wait(self, seconds: float) -> None:
        """Give Asterisk so long for what is to come next, however it dribbles in."""
        self._due = min(self._loop.time() + seconds, self._ends)

    def close_overdue(self, now: float) -> None:
        """End it if what it waits for has not come in time."""
        if now >= self._due:
            self.close("deadline" if self._due == self._ends else "timeout")


def _let_go(leaving: Iterable[tuple[_Connection, Command | None]]) -> None:
    for connection, command in leaving:
        if command is None:
            connection.close()
        else:
            connection.send(command)


def _networks(allow: str) -> Networks:
    try:
        return Networks(allow.split())
    except InvalidValue as error:
        raise SettingsError(f"doors.{DOOR}.allow: {error}") from None
