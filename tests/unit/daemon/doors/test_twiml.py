"""What is TwiML's alone: the documents, and how their names are told. Whole calls are in `test_webhook_doors.py`."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Dial, Gather, VoiceResponse

from daemon.doors.dialogue import Admit, Ask, Dismiss, Prompt, State
from daemon.doors.spoken import LOCALES, said
from daemon.doors.surroundings import Surroundings
from daemon.doors.twiml import TwimlDoor, name_in_label
from daemon.doors.webhook_dialogues import Rendering
from daemon.live import Live
from daemon.verify import Verification
from loader.door_sections import Twiml
from loader.index import Decision, Reason
from loader.model import Conference, Level, Participant, Passcode, Revision
from tests.unit.daemon.doors.clouds import CALL, SECRET, Door, Twilio, opened, own, post, secret_file, surroundings
from tests.unit.daemon.doors.conftest import OWNERS

PASSCODE, PIN = "7784321", "004127"
CONFERENCE = Conference("C-1001", "Weekly call", Passcode(PASSCODE), "alicia", True, OWNERS)
STATUS = f"{Twilio.url}/status"


@pytest.fixture
async def door(live: Live, tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(Twilio(), live, tmp_path) as door:
        yield door


@pytest.fixture
def around(live: Live, tmp_path: Path) -> Surroundings:
    return surroundings(live, tmp_path)


def rendered(around: Surroundings, step: Any, *, language: str = "en", following: str = "", **prompts: str) -> bytes:
    """The document for a step."""
    folder = around.keyring().path.parent
    settings = Twiml(url=Twilio.url, auth_token_file=str(secret_file(folder)), prompts=own(**prompts))
    return TwimlDoor(settings, around).render(Rendering(step, language, following)).body


def same(document: bytes, built: VoiceResponse) -> bool:
    """Whether it is what Twilio's own library builds."""
    return ET.canonicalize(document.decode()) == ET.canonicalize(str(built))


def accepted(first_name: str, last_name: str = "", *, verification: str = "9f2c41d07a55e1b3-1f") -> Admit:
    who = Participant(first_name, last_name, "", "", "", "", "", "")
    return Admit(Verification(verification, Decision(None, CONFERENCE, who, Level.ORGANIZER, Revision(1))))


@pytest.mark.parametrize("language", LOCALES)
def test_a_question_is_what_twilios_library_builds(around: Surroundings, language: str) -> None:
    following = f"{Twilio.url}?language={language}&state=a-_b"
    built = VoiceResponse()
    gather = Gather(input="dtmf", finish_on_key="#", num_digits=33, timeout=5, action=following, method="POST")
    for prompt in (Prompt.WRONG_PIN, Prompt.PIN):
        gather.say(said(prompt, language, own()), language=LOCALES[language])
    built.append(gather)
    built.redirect(following, method="POST")
    step = Ask((Prompt.WRONG_PIN, Prompt.PIN), State(PASSCODE, 1))
    assert same(rendered(around, step, language=language, following=following), built)


def test_an_entry_is_what_twilios_library_builds(around: Surroundings) -> None:
    built = VoiceResponse()
    dial = Dial()
    dial.conference(
        "C-1001",
        status_callback=STATUS,
        status_callback_event="join leave",
        status_callback_method="POST",
        participant_label="Mike Doe 9f2c41d07a55e1b3-1f",
    )
    built.append(dial)
    assert same(rendered(around, accepted("Mike", "Doe")), built)


def test_a_dismissal_is_what_twilios_library_builds(around: Surroundings) -> None:
    built = VoiceResponse()
    built.play("https://cdn.example.com/locked.mp3?a=1&b=2")
    built.say("Auf Wiederhören.", language="de-DE")
    built.hangup()
    step = Dismiss((Prompt.LOCKED, Prompt.GOODBYE), "locked", 60)
    document = rendered(around, step, language="de", locked="https://cdn.example.com/locked.mp3?a=1&b=2")
    assert same(document, built)


def test_a_document_says_that_it_is_utf_8(around: Surroundings) -> None:
    document = rendered(around, Dismiss((Prompt.GOODBYE,), "x"), language="ja")
    assert document.startswith(b"<?xml version='1.0' encoding='utf-8'?>\n<Response>")
    assert "失礼いたします。".encode() in document


def test_where_no_pin_is_wanted_nobody_is_named(around: Surroundings) -> None:
    (conference,) = ET.fromstring(rendered(around, Admit(Verification("1-1", Decision(None, CONFERENCE)))))[0]
    assert conference.text == "C-1001"
    assert "participantLabel" not in conference.attrib


@pytest.mark.parametrize(
    "decision", [Decision(Reason.UNKNOWN_PIN, CONFERENCE), Decision(Reason.LOCKED), Decision(None, None)]
)
def test_nobody_is_let_in_without_an_accepted_decision(around: Surroundings, decision: Decision) -> None:
    with pytest.raises(ValueError, match="without an accepted decision"):
        rendered(around, Admit(Verification("1-1", decision)))


NAMES = [
    ("Mike", "Mike"),
    ('"Mike" & <Doe>\'s', '"Mike" & <Doe>\'s'),
    ("Mike\r\nHangup\t now", "Mike Hangup now"),
    ("]]></Conference><Dial>", "]]>< Conference><Dial>"),
    ("\0\x08\x1b\ufffe\ud800Zoë", "Zoë"),
    ("A/B%2FC%2fD//E", "A B C D E"),
    ("A%\x002fB", "A B"),
    ("会議😀", "会議😀"),
    ("CA0123456789abcdef0123456789abcdef", "CA0123456789abcdef0123456789abcdef"),
    ("x" * 200, "x" * 48),
    ("", ""),
]


@pytest.mark.parametrize(("name", "told"), NAMES)
def test_any_name_may_stand_in_a_label(around: Surroundings, name: str, told: str) -> None:
    """At most 128 characters, however they are counted, no slash, and never a call's ID: Twilio's error 16023."""
    assert name_in_label(name, "") == told
    (conference,) = ET.fromstring(rendered(around, accepted(name)))[0]
    labelled = conference.attrib["participantLabel"]
    assert labelled == f"{told} 9f2c41d07a55e1b3-1f"
    assert "/" not in labelled
    assert len((name and labelled).encode("utf-16-le")) // 2 <= 128


def test_a_label_of_wide_characters_is_short_enough(around: Surroundings) -> None:
    """With the longest ID that a daemon gives in ten years of a million questions a second."""
    longest = f"{'f' * 16}-{365 * 86400 * 10 * 1_000_000:x}"
    (conference,) = ET.fromstring(rendered(around, accepted("😀" * 200, verification=longest)))[0]
    assert len(conference.attrib["participantLabel"].encode("utf-16-le")) // 2 <= 128


async def test_two_of_one_name_have_labels_of_their_own(door: Door) -> None:
    """Twilio turns away a label that is in use in the conference: error 16025."""
    labels = set()
    for query in ("", "?language=en"):
        asked = await door.keys(PASSCODE, await door.calls(query))
        answer = await door.tell(asked.following, door.cloud.keyed(PIN))
        labels.add(ET.fromstring(answer.body)[0][0].attrib["participantLabel"])
    assert len(labels) == 2
    assert all(one.startswith("Mike Doe ") for one in labels)


async def test_exotel_names_what_was_keyed_in_its_own_way(door: Door) -> None:
    greeted = await door.calls()
    told = {"CallSid": CALL, "CallFrom": "+15550100", "DigitsPressed": PASSCODE}
    asked = door.cloud.heard(await door.tell(greeted.following, told))
    entered = door.cloud.heard(await door.tell(asked.following, {**told, "DigitsPressed": PIN}))
    assert entered.conference == "C-1001"


@pytest.mark.parametrize("ended", ["completed", "busy", "failed", "no-answer", "canceled"])
async def test_a_call_is_over_however_it_ended(door: Door, ended: str) -> None:
    assert (await door.tell(STATUS, {"CallSid": CALL, "CallStatus": ended})).status == 204
    assert door.events("left") == 1


async def test_who_comes_back_joins_again(door: Door) -> None:
    """Twilio counts what it tells of a conference."""
    for number, event in enumerate(("join", "leave", "join", "leave")):
        told = {"CallSid": CALL, "StatusCallbackEvent": f"participant-{event}", "SequenceNumber": str(number)}
        assert (await door.tell(STATUS, told)).status == 204
    assert (door.events("joined"), door.events("left")) == (2, 2)


@pytest.mark.parametrize("name", ["CallSid", "Digits", "CallStatus"])
async def test_a_field_that_stands_twice_is_refused(door: Door, name: str) -> None:
    class Several(dict[str, str]):
        def getlist(self, name: str) -> list[str]:
            return [value for field, value in pairs if field == name]

    pairs = [*door.cloud.keyed(PIN).items(), (name, "x")]
    signature = RequestValidator(SECRET).compute_signature(Twilio.url, Several(pairs))
    body = "&".join(f"{field}={value.replace('+', '%2B')}" for field, value in pairs).encode()
    answer = await door.ask(post(Twilio.url, body, f"X-Twilio-Signature: {signature}\r\n"))
    assert (answer.status, answer.json["errors"]) == (400, {name: "stands more than once"})


async def test_a_form_with_too_many_fields_is_refused_before_it_is_read(door: Door) -> None:
    """Be it signed: whoever cannot sign shall not keep others waiting."""
    for more, status in ((900, 200), (1000, 403)):
        told = door.cloud.first() | {f"SipHeader_{number}": "" for number in range(more)}
        assert (await door.tell(Twilio.url, told)).status == status
