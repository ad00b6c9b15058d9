"""What is jambonz's alone: the verbs, and what it sends. Whole calls are in `test_webhook_doors.py`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daemon.doors.dialogue import Admit, Ask, Dismiss, Prompt, State
from daemon.doors.jambonz import JambonzDoor
from daemon.doors.spoken import LOCALES, said
from daemon.doors.surroundings import Surroundings
from daemon.doors.webhook_dialogues import Rendering
from daemon.live import Live
from daemon.verify import Verification
from loader.door_sections import Jambonz
from loader.index import Decision, Reason
from loader.model import Conference, Level, Participant, Passcode, Revision
from tests.unit.daemon.doors.clouds import CALL, Door, JambonzCloud, opened, own, secret_file, signed_json, surroundings
from tests.unit.daemon.doors.conftest import OWNERS

PASSCODE, PIN = "7784321", "004127"
CONFERENCE = Conference("C-1001", "Weekly call", Passcode(PASSCODE), "alicia", True, OWNERS)
URL, STATUS = JambonzCloud.url, f"{JambonzCloud.url}/status"


@pytest.fixture
async def door(live: Live, tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(JambonzCloud(), live, tmp_path) as door:
        yield door


@pytest.fixture
def around(live: Live, tmp_path: Path) -> Surroundings:
    return surroundings(live, tmp_path)


def rendered(around: Surroundings, step: Any, *, language: str = "en", following: str = "", **prompts: str) -> Any:
    """The verbs for a step."""
    folder = around.keyring().path.parent
    settings = Jambonz(url=URL, secret_file=str(secret_file(folder)), prompts=own(**prompts))
    return json.loads(JambonzDoor(settings, around).render(Rendering(step, language, following)).body)


@pytest.mark.parametrize("language", LOCALES)
def test_a_question_gathers_digits_and_ends_in_an_excuse_should_the_next_request_fail(
    around: Surroundings, language: str
) -> None:
    """What stands behind a gather is for when its hook gave no verbs: `lib/tasks/gather.js` of its feature server."""
    following = f"{URL}?language={language}&state=a-_b"
    step = Ask((Prompt.WRONG_PIN, Prompt.PIN), State(PASSCODE, 1))
    assert rendered(around, step, language=language, following=following) == [
        {"verb": "say", "text": said(Prompt.WRONG_PIN, language, own())},
        {
            "verb": "gather",
            "input": ["digits"],
            "finishOnKey": "#",
            "minDigits": 1,
            "maxDigits": 33,
            "timeout": 10.0,
            "interDigitTimeout": 5.0,
            "actionHook": following,
            "say": {"text": said(Prompt.PIN, language, own())},
        },
        {"verb": "say", "text": said(Prompt.UNAVAILABLE, language, own())},
        {"verb": "say", "text": said(Prompt.GOODBYE, language, own())},
        {"verb": "hangup"},
    ]


def test_recordings_are_played(around: Surroundings) -> None:
    recording = "https://cdn.example.com/pin.mp3"
    verbs = rendered(around, Ask((Prompt.PIN,), State(PASSCODE)), pin=recording, goodbye=recording)
    assert verbs[0]["play"] == {"url": recording}
    assert "say" not in verbs[0]
    assert verbs[-2] == {"verb": "play", "url": recording}


def test_an_entry_is_the_conference_and_nobodys_name(around: Surroundings) -> None:
    """A member's tag would stand in a command of FreeSWITCH as it is: no name must come there."""
    who = Participant("Mike kick all", "Doe", "", "", "", "", "", "")
    decision = Decision(None, CONFERENCE, who, Level.ORGANIZER, Revision(1))
    assert rendered(around, Admit(Verification("1-1", decision))) == [
        {"verb": "conference", "name": "C-1001", "statusHook": STATUS, "statusEvents": ["join", "leave"]},
        {"verb": "hangup"},
    ]


@pytest.mark.parametrize(
    "decision", [Decision(Reason.UNKNOWN_PIN, CONFERENCE), Decision(Reason.LOCKED), Decision(None, None)]
)
def test_nobody_is_let_in_without_an_accepted_decision(around: Surroundings, decision: Decision) -> None:
    with pytest.raises(ValueError, match="without an accepted decision"):
        rendered(around, Admit(Verification("1-1", decision)))


def test_a_dismissal_says_why_and_hangs_up(around: Surroundings) -> None:
    assert rendered(around, Dismiss((Prompt.LOCKED, Prompt.GOODBYE), "locked", 60), language="fr") == [
        {"verb": "say", "text": said(Prompt.LOCKED, "fr", own())},
        {"verb": "say", "text": "Au revoir."},
        {"verb": "hangup"},
    ]


async def test_the_first_request_brings_the_whole_sip_message_along(door: Door) -> None:
    """As `callbacks/session-new` of its schema has it."""
    told = {
        **door.cloud.first(),
        "sip": {
            "headers": {"via": "SIP/2.0/UDP 192.0.2.1;branch=z9" + "x" * 20_000},
            "body": "v=0\r\n",
            "method": "INVITE",
        },
        "defaults": {"synthesizer": {"vendor": "google", "language": "en-US"}},
        "env_vars": None,
        "sip_status": 100,
    }
    answer = await door.ask(signed_json(URL, json.dumps(told).encode()))
    assert door.cloud.heard(answer).is_asked


@pytest.mark.parametrize("reason", ["timeout", "error", "stt-low-confidence"])
async def test_without_digits_nothing_was_keyed(door: Door, reason: str) -> None:
    asked = await door.keys(PASSCODE, await door.calls())
    again = await door.keys("", asked, reason=reason)
    assert again.said == asked.said
    assert door.verifications("unknown_pin") == 0


@pytest.mark.parametrize("ended", ["completed", "failed", "busy", "no-answer"])
async def test_a_call_is_over_however_it_ended(door: Door, ended: str) -> None:
    assert (await door.tell(STATUS, {"call_sid": CALL, "call_status": ended})).status == 204
    assert door.events("left") == 1


async def test_who_comes_back_joins_again(door: Door) -> None:
    for second, event in enumerate(("join", "leave", "join", "leave")):
        told = {"call_sid": CALL, "call_status": "in-progress", "event": event, "time": f"2026-01-02T03:04:0{second}Z"}
        assert (await door.tell(STATUS, told)).status == 204
    assert (door.events("joined"), door.events("left")) == (2, 2)


@pytest.mark.parametrize("url", [URL, STATUS])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"digits"',
        b"[" * 60_000,
        b'{"call_sid": 5}',
        b'{"call_sid": "x", "digits": 4127}',
        b'{"call_sid": "x", "from": ["y"]}',
        b'{"call_sid": "\xff"}',
        b'{"call_sid": "\\ud800"}',
        b'{"call_sid": "x"}{}',
    ],
)
async def test_signed_garbage_is_a_problem_and_nothing_of_it_is_repeated(door: Door, url: str, body: bytes) -> None:
    answer = await door.ask(signed_json(url, body))
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json["detail"] == "The body is not what jambonz sends."
    assert b"4127" not in answer.body


async def test_what_was_signed_long_ago_is_refused(door: Door) -> None:
    answer = await door.ask(signed_json(URL, json.dumps(door.cloud.first()).encode(), at=1_767_323_045))
    assert answer.status == 403
