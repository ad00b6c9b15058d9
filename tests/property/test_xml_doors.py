"""The doors that answer with XML, for any bytes: a document that is well-formed, and nobody let in who was not accepted."""

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.live import Live
from tests.unit.daemon.doors import freeswitch, test_httapi, test_voicexml, vxml_browser
from tests.unit.daemon.doors.conftest import TOKEN
from tests.unit.daemon.doors.platforms import BASIC, OPEN, PASSCODE, PIN, Door, request

TEXTS = st.text(max_size=40)
KEYED = st.sampled_from([PASSCODE, OPEN, PIN, f"1*{PIN}#", "99", "4321", "", "#", f"{PASSCODE}#{PIN}#"]) | TEXTS
FIELDS = st.sampled_from(
    "session_id rollcall_state rollcall_digits exiting Caller-Caller-ID-Number call_id state digits caller".split()
)
VALUES = st.sampled_from(["1", "true", PASSCODE, OPEN, PIN, ""]) | TEXTS
FORMS = st.lists(st.tuples(FIELDS, VALUES), max_size=6).map(
    lambda form: "&".join(f"{name}={quote(value)}" for name, value in form).encode()
)
BODIES = FORMS | st.binary(max_size=60)
TARGETS = st.sampled_from(
    ["/httapi", "/dialogue.vxml", "/subdialog.vxml", "/heard.vxml", "/", "/heard.vxml?language=fr&x=%ff", "*"]
)
METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS"])
TOKENS = st.sampled_from([BASIC, f"Bearer {TOKEN}", "Bearer x", "Basic x", ""])
CHECKED = {"httapi": freeswitch.checked, "voicexml": vxml_browser.checked}
MEDIA_TYPES = {"httapi": "text/xml", "voicexml": vxml_browser.MEDIA_TYPE}
OPENINGS = {"httapi": test_httapi.opening, "voicexml": test_voicexml.opening}
_LETS_IN = re.compile(rb"<conference|<transfer|'accepted'\"")

T = TypeVar("T")


def in_door(name: str, live: Live, do: Callable[[Door], Awaitable[T]]) -> T:
    """What is done in an open door; nothing is logged."""

    async def run() -> T:
        with tempfile.TemporaryDirectory() as folder:
            async with OPENINGS[name](live, Path(folder)) as door:
                return await do(door)

    with structlog.testing.capture_logs() as logged:
        done = asyncio.run(run())
    assert not logged
    return done


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(OPENINGS)), method=METHODS, target=TARGETS, body=BODIES, authorization=TOKENS)
@example(name="httapi", method="POST", target="/httapi", body=b"session_id=1&exiting=true", authorization=BASIC)
@example(
    name="voicexml", method="POST", target="/heard.vxml", body=f"call_id=1&digits={OPEN}".encode(), authorization=BASIC
)
def test_any_request_is_answered_with_a_document_that_lets_in_who_was_accepted(
    live: Live, name: str, method: str, target: str, body: bytes, authorization: str
) -> None:
    async def ask(door: Door) -> None:
        # What would be the answer's body is left out for HEAD alone.
        answer = await door.ask(request(method.replace("HEAD", "GET"), target, body, authorization=authorization))
        assert answer.headers["content-type"] == MEDIA_TYPES[name]
        assert name != "httapi" or answer.status == 200
        CHECKED[name](answer.body)
        assert len(answer.body) != freeswitch.UNREAD
        dialogue = target == "/dialogue.vxml" and answer.status == 200
        if _LETS_IN.search(answer.body) and not dialogue:
            assert door.verifications("accepted") == 1
            assert authorization in (BASIC, f"Bearer {TOKEN}")

    in_door(name, live, ask)


STEPS = st.lists(KEYED | st.just(None), max_size=8)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keyed=STEPS, stays=st.booleans())
@example(keyed=[PASSCODE, "1#2#", PIN], stays=True)
def test_freeswitch_puts_nobody_into_a_conference_who_was_not_accepted(
    live: Live, keyed: list[str | None], stays: bool
) -> None:
    async def call(door: Door) -> None:
        keys = [freeswitch.Caller.HANGS_UP if one is None else one for one in keyed]
        channel = await freeswitch.Channel(door, keys, stays=stays).run()
        assert bool(channel.conference) == bool(door.verifications("accepted"))
        assert door.events() == ((1, 1) if channel.conference else (0, 0))
        assert channel.conference in ("", "C-1001", "C-1002")
        assert not channel.in_dialplan
        assert channel.requests <= 3 * 3 * 2 + 4

    in_door("httapi", live, call)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keyed=STEPS, failing=st.sets(st.integers(1, 6), max_size=1), parted=st.booleans())
@example(keyed=[PASSCODE, PIN], failing=set(), parted=True)
def test_a_voicexml_platform_is_told_accepted_for_nobody_who_was_not(
    live: Live, keyed: list[str | None], failing: set[int], parted: bool
) -> None:
    async def call(door: Door) -> None:
        keys = [vxml_browser.Caller.HANGS_UP if one is None else one for one in keyed]
        ended = await vxml_browser.Browser(door, keys, failing=failing, parted=parted).subdialog()
        assert ended.how == "return"
        accepted = ended.values["result"] == "accepted"
        assert accepted == bool(door.verifications("accepted"))
        assert ended.values["result"] in ("accepted", "rejected", "error")
        assert bool(ended.values["conference_id"]) == accepted

    in_door("voicexml", live, call)
