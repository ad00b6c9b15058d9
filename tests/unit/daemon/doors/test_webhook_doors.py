"""Whole calls through the doors that clouds ask by webhook: what is true of all of them."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.doors.dialogue import Prompt
from daemon.doors.http_server import BODY_TIMEOUT
from daemon.doors.opening import enabled
from daemon.doors.opening import opened as opened_doors
from daemon.doors.spoken import LOCALES, said
from daemon.doors.surroundings import Calls
from daemon.doors.webhook_dialogues import WebhookDialogues
from daemon.live import Live
from daemon.verify import Verifier
from loader.door_sections import Doors, Jambonz, Twiml
from loader.errors import SettingsError
from loader.index import Question
from loader.logs import exception_told
from loader.service import PortError
from tests.unit.daemon.doors.clouds import (
    CALL,
    CALLER,
    CLOUDS,
    Cloud,
    Door,
    Heard,
    opened,
    own,
    read_answer,
    secret_file,
    surroundings,
)
from tests.unit.daemon.doors.throttles import locked

PASSCODE, PIN, OPEN = "7784321", "004127", "7784322"


def texts(*prompts: Prompt, language: str = "en") -> tuple[str, ...]:
    return tuple(said(prompt, language, own()) for prompt in prompts)


@pytest.fixture(params=CLOUDS, ids=lambda cloud: cloud.name)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    chosen: Cloud = request.param
    return chosen


@pytest.fixture
async def door(cloud: Cloud, live: Live, tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(cloud, live, tmp_path) as door:
        yield door


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[Question]:
    """All that is asked of verify()."""
    asked: list[Question] = []
    verify = Verifier.verify

    def spy(self: Verifier, question: Question, begun: float) -> Any:
        asked.append(question)
        return verify(self, question, begun)

    monkeypatch.setattr(Verifier, "verify", spy)
    return asked


# Who is let in


@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("given", ["address", "settings"])
async def test_a_caller_keys_passcode_and_pin_and_is_in(
    cloud: Cloud, live: Live, tmp_path: Path, language: str, given: str
) -> None:
    """He is spoken to in one language from the first word to the last, be it of the address or of the settings."""
    settings: dict[str, Any] = {"language": language} if given == "settings" else {}
    query = f"?language={language}" if given == "address" else ""
    async with opened(cloud, live, tmp_path, **settings) as door:
        greeted = await door.calls(query)
        assert greeted.said == texts(Prompt.PASSCODE, language=language)
        asked = await door.keys(PASSCODE, greeted)
        assert asked.said == texts(Prompt.PIN, language=language)
        again = await door.keys("4321", asked)
        assert again.said == texts(Prompt.WRONG_PIN, Prompt.PIN, language=language)
        assert await door.keys(PIN, again) == Heard((), conference="C-1001")


async def test_a_language_that_nobody_speaks_is_none(door: Door) -> None:
    greeted = await door.calls("?language=xx")
    assert greeted.said == texts(Prompt.PASSCODE)
    assert "language" not in greeted.following


async def test_a_conference_without_pin_entry_is_joined_by_its_passcode(door: Door) -> None:
    assert (await door.keys(OPEN, await door.calls())).conference == "C-1002"


async def test_keys_before_a_star_and_behind_a_pound_do_not_count(door: Door) -> None:
    asked = await door.keys(f"99*{PASSCODE}#1", await door.calls())
    assert asked.said == texts(Prompt.PIN)
    assert (await door.keys(f"1*2*{PIN}", asked)).conference == "C-1001"


async def test_the_call_and_the_caller_are_told_to_verify(cloud: Cloud, door: Door, verified: list[Question]) -> None:
    await door.keys(PIN, await door.keys(PASSCODE, await door.calls()))
    assert verified == [Question(PASSCODE, "", CALL, CALLER), Question(PASSCODE, PIN, CALL, CALLER)]


# Who is not


async def test_an_unknown_passcode_is_asked_for_three_times(door: Door) -> None:
    heard = await door.calls()
    for _ in range(2):
        heard = await door.keys("1111", heard)
        assert heard.said == texts(Prompt.WRONG_PASSCODE, Prompt.PASSCODE)
        assert heard.is_asked
    heard = await door.keys("1111", heard)
    assert heard == Heard(texts(Prompt.WRONG_PASSCODE, Prompt.GOODBYE))
    assert heard.is_dismissed
    assert door.verifications("unknown_passcode") == 3


@pytest.mark.parametrize(
    ("pin", "result"), [("4321", "unknown_pin"), ("99", "inactive_pin"), ("1" * 40, "unknown_pin")]
)
async def test_a_wrong_pin_is_asked_for_three_times(door: Door, pin: str, result: str) -> None:
    """To the caller an inactive one sounds the same."""
    heard = await door.keys(PASSCODE, await door.calls())
    for _ in range(2):
        heard = await door.keys(pin, heard)
        assert heard.said == texts(Prompt.WRONG_PIN, Prompt.PIN)
        assert heard.is_asked
    heard = await door.keys(pin, heard)
    assert heard == Heard(texts(Prompt.WRONG_PIN, Prompt.GOODBYE))
    assert door.verifications(result) == 3


async def test_the_third_pin_may_be_the_right_one(door: Door) -> None:
    heard = await door.keys(PASSCODE, await door.calls())
    heard = await door.keys("2", await door.keys("1", heard))
    assert (await door.keys(PIN, heard)).conference == "C-1001"


async def test_who_says_nothing_three_times_is_dismissed(door: Door) -> None:
    heard = await door.calls()
    for _ in range(2):
        heard = await door.keys("", heard)
        assert heard.said == texts(Prompt.PASSCODE)
    assert await door.keys("", heard) == Heard(texts(Prompt.GOODBYE))

    heard = await door.keys(PASSCODE, await door.calls("?language=en"))
    heard = await door.keys("#", await door.keys("", heard))
    assert heard.said == texts(Prompt.PIN)
    assert await door.keys("", heard) == Heard(texts(Prompt.GOODBYE))
    assert door.verifications("pin_required") == 1


@pytest.mark.parametrize("caller", [True, False])
async def test_who_is_locked_out_hears_so_and_is_dismissed(
    cloud: Cloud, live: Live, tmp_path: Path, caller: bool
) -> None:
    async with opened(cloud, live, tmp_path, throttle=locked(caller=caller)) as door:
        heard = await door.keys(PASSCODE, await door.calls())
        if not caller:
            heard = await door.keys(PIN, heard)
        assert heard == Heard(texts(Prompt.LOCKED, Prompt.GOODBYE))
        assert door.verifications("locked") == 1


async def test_while_nothing_is_loaded_the_caller_hears_an_excuse(cloud: Cloud, tmp_path: Path) -> None:
    async with opened(cloud, Live(), tmp_path) as door:
        heard = await door.keys(PASSCODE, await door.calls())
        assert heard == Heard(texts(Prompt.UNAVAILABLE, Prompt.GOODBYE))


async def test_what_breaks_is_logged_without_its_text_and_lets_nobody_in(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 503: Twilio goes to the fallback address, jambonz on to the excuse that it was given before."""
    asked = await door.keys(PASSCODE, await door.calls())

    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"{PASSCODE} {PIN}")

    with monkeypatch.context() as breaking, structlog.testing.capture_logs() as logged:
        breaking.setattr(Verifier, "verify", broken)
        answer = await door.tell(asked.following, door.cloud.keyed(PIN))
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert not_told(answer.raw)
    (line,) = logged
    assert line["event"] == "request_failed"
    error = line["exc_info"]
    assert not_told(exception_told((type(error), error, error.__traceback__)).encode())
    assert door.refused(503) == 1
    # A retry is not answered with what was never an answer.
    assert (await door.keys(PIN, asked)).conference == "C-1001"


def not_told(text: bytes) -> bool:
    return PASSCODE.encode() not in text and PIN.encode() not in text


# Prompts of one's own


async def test_prompts_of_ones_own_are_said_and_recordings_are_played(cloud: Cloud, live: Live, tmp_path: Path) -> None:
    odd = "PIN </Say><Dial>1</Dial> & \"now\" 'then'\n]]> \\ é会議😀"
    recording = "https://cdn.example.com/wrong.mp3?a=1&b=2"
    prompts = own(passcode="Passcode, please.", pin=odd, wrong_pin=recording)
    async with opened(cloud, live, tmp_path, prompts=prompts, language="fr") as door:
        greeted = await door.calls()
        assert greeted.said == ("Passcode, please.",)
        asked = await door.keys(PASSCODE, greeted)
        assert asked.said == (odd,)
        answer = await door.tell(asked.following, cloud.keyed("1"))
        assert cloud.heard(answer).said == (recording, odd)
        assert (b"<Play>" in answer.body) == (cloud.name == "twiml")
        assert (b'"play"' in answer.body) == (cloud.name == "jambonz")


# Retries


async def test_a_retry_is_answered_the_same_to_the_byte_and_counts_once(door: Door) -> None:
    greeted = await door.calls()
    for _ in range(2):
        assert await door.calls() == greeted
    asked = await door.keys(PASSCODE, greeted)
    answers = [await door.tell(asked.following, door.cloud.keyed("4321")) for _ in range(3)]
    assert len({answer.body for answer in answers}) == 1
    assert door.verifications("unknown_pin") == 1
    again = door.cloud.heard(answers[0])
    # Without the answer being lost on the way: two tries are left, not none.
    again = await door.keys("4321", again)
    assert again.is_asked
    assert door.verifications("unknown_pin") == 2
    entered = [await door.keys(PIN, again) for _ in range(2)]
    assert {heard.conference for heard in entered} == {"C-1001"}
    assert door.verifications("accepted") == 1


async def test_other_digits_after_the_same_question_are_no_retry(door: Door) -> None:
    asked = await door.keys(PASSCODE, await door.calls())
    assert (await door.keys("4321", asked)).is_asked
    assert (await door.keys(PIN, asked)).conference == "C-1001"


async def test_twilio_marks_a_retry_and_is_answered_the_same(live: Live, tmp_path: Path) -> None:
    """Its connection overrides: each try of one request has the same token."""
    async with opened(CLOUDS[0], live, tmp_path) as door:
        asked = await door.keys(PASSCODE, await door.calls())
        headers = "I-Twilio-Idempotency-Token: 3f1c\r\n"
        tries = [await door.tell(asked.following, door.cloud.keyed("4321"), headers=headers) for _ in range(2)]
        assert tries[0].body == tries[1].body
        assert door.verifications("unknown_pin") == 1


# The state


async def test_a_state_of_another_call_begins_anew(door: Door) -> None:
    name = "CallSid" if door.cloud.name == "twiml" else "call_sid"
    asked = await door.keys(PASSCODE, await door.calls())
    other = await door.keys(PIN, asked, **{name: "CAffffffffffffffffffffffffffffffff"})
    assert other.said == texts(Prompt.PASSCODE)
    assert door.verifications("accepted") == 0


@pytest.mark.parametrize("state", ["", "x", "AAAA", "a" * 80, "%ff%00", "é", "{}", "A" * 4000])
async def test_a_state_that_is_none_begins_anew(door: Door, state: str) -> None:
    url = f"{door.cloud.url}?state={state if state.isascii() else '%C3%A9'}"
    heard = door.cloud.heard(await door.tell(url, door.cloud.keyed(PIN)))
    assert heard.said == texts(Prompt.PASSCODE)


async def test_a_state_outlives_the_daemon(cloud: Cloud, live: Live, tmp_path: Path) -> None:
    """The keyring is read from its file again, and all that was remembered is gone."""
    async with opened(cloud, live, tmp_path) as before:
        asked = await before.keys("4321", await before.keys(PASSCODE, await before.calls("?language=de")))
    async with opened(cloud, live, tmp_path) as after:
        again = await after.keys("4321", asked)
        assert again.said == texts(Prompt.WRONG_PIN, Prompt.PIN, language="de")
        assert await after.keys("4321", again) == Heard(texts(Prompt.WRONG_PIN, Prompt.GOODBYE, language="de"))


async def test_an_address_tells_neither_passcode_nor_pin(door: Door) -> None:
    heard = await door.keys("4321", await door.keys(PASSCODE, await door.calls()))
    assert PASSCODE not in heard.following
    assert "4321" not in heard.following


# What becomes of calls


async def test_joined_and_left_are_told_to_the_roll(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(Calls, "joined", lambda _, call_id: told.append(("joined", call_id)))
    monkeypatch.setattr(Calls, "left", lambda _, call_id: told.append(("left", call_id)))
    for event in ("joined", "left", "over"):
        answer = await door.reports(event)
        assert (answer.status, answer.body) == (204, b"")
    assert told == [("joined", CALL), ("left", CALL), ("left", CALL)]


async def test_what_is_told_twice_of_a_call_counts_once(door: Door) -> None:
    for event in ("joined", "joined", "left", "left", "joined"):
        assert (await door.reports(event)).status == 204
    assert (door.events("joined"), door.events("left")) == (1, 1)


async def test_what_else_is_told_of_a_call_is_heard_and_changes_nothing(door: Door) -> None:
    for field, values in (
        ("CallStatus", ("queued", "ringing", "in-progress", "")),
        ("StatusCallbackEvent", ("conference-start", "conference-end", "participant-mute", "")),
        ("call_status", ("trying", "ringing", "in-progress", "")),
        ("event", ("start", "end", "start-talking", "")),
    ):
        for value in values:
            assert (await door.tell(f"{door.cloud.url}/status", {field: value})).status == 204
    assert (door.events("joined"), door.events("left")) == (0, 0)


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_who_hangs_up_in_the_middle_is_noted_and_not_verified(door: Door, steps: int) -> None:
    """Whether the cloud tells it where it asks, or where it reports."""
    heard = await door.calls()
    for digits in (PASSCODE, "4321")[:steps]:
        heard = await door.keys(digits, heard)
    answer = await door.tell(heard.following, {**door.cloud.status("over"), **door.cloud.keyed(PIN), **over(door)})
    assert (answer.status, answer.body) == (204, b"")
    assert (await door.reports("over")).status == 204
    assert door.events("left") >= 1
    assert door.verifications("accepted") == 0


def over(door: Door) -> dict[str, str]:
    return {"CallStatus" if door.cloud.name == "twiml" else "call_status": "completed"}


# What is refused


async def test_what_is_not_signed_is_refused_before_anything_else(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the state nor the fields are looked at."""

    def looked(*_: object) -> None:
        raise AssertionError

    for name in ("answer", "note"):
        monkeypatch.setattr(WebhookDialogues, name, looked)
    for url in (door.cloud.url, f"{door.cloud.url}/status", f"{door.cloud.url}?state=x"):
        signed = door.cloud.request(url, door.cloud.keyed(PIN))
        head, _, body = signed.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if b"ignature" not in line]
        for request in (
            b"\r\n".join(lines) + b"\r\n\r\n" + body,
            signed.replace(PIN.encode(), b"004128"),
            signed.replace(b"ignature: ", b"ignature: x"),
        ):
            answer = await door.ask(request)
            assert (answer.status, answer.headers["content-type"]) == (403, "application/problem+json")
            assert answer.json["detail"] == "The signature is missing or wrong."
    assert door.refused(403) == 9


async def test_a_signature_of_the_calls_is_none_of_the_reports(live: Live, tmp_path: Path) -> None:
    """Twilio signs the address too."""
    async with opened(CLOUDS[0], live, tmp_path) as door:
        request = door.cloud.request(door.cloud.url, door.cloud.status("over"))
        assert (await door.ask(request.replace(b"POST /twiml ", b"POST /twiml/status "))).status == 403


async def test_only_post_is_answered_and_only_where_the_door_is(door: Door) -> None:
    for path in (door.cloud.path, f"{door.cloud.path}/status"):
        answer = await door.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    for path in ("/", "/v1/verify", f"{door.cloud.path}/", f"{door.cloud.path}/statuses"):
        assert (await door.ask(door.cloud.request(f"https://rollcall.example.com{path}", {}))).status == 404


async def test_a_request_that_tells_of_no_call_is_refused_by_field(door: Door) -> None:
    name = "CallSid" if door.cloud.name == "twiml" else "call_sid"
    for call, problem in (("", "is missing"), ("C" * 129, "has more than 128 characters")):
        for url, told in (
            (door.cloud.url, door.cloud.first()),
            (f"{door.cloud.url}/status", door.cloud.status("joined")),
            (f"{door.cloud.url}/status", door.cloud.status("over")),
        ):
            answer = await door.tell(url, {**told, name: call})
            assert (answer.status, answer.json["errors"]) == (400, {name: problem})


async def test_a_long_caller_is_cut_and_none_is_none(door: Door, verified: list[Question]) -> None:
    name = "From" if door.cloud.name == "twiml" else "from"
    for caller in ("sip:" + "x" * 300, ""):
        await door.keys(PASSCODE, await door.calls("?language=en" if caller else ""), **{name: caller})
    assert [question.caller for question in verified] == ["sip:" + "x" * 124, None]


async def test_a_body_may_have_64_kib(door: Door) -> None:
    fits = await door.calls(Padding="x" * 60_000)
    assert fits.said == texts(Prompt.PASSCODE)
    answer = await door.tell(door.cloud.url, {**door.cloud.first(), "Padding": "x" * 66_000})
    assert answer.status == 413


async def test_a_thousand_half_sent_requests_keep_nobody_waiting(door: Door) -> None:
    asked = await door.keys(PASSCODE, await door.calls())
    request = door.cloud.request(asked.following, door.cloud.keyed(PIN))
    connections = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(1000)]
    try:
        for at, (_, writer) in enumerate(connections):
            writer.write(request[: at % len(request)])
        # Less than the time that a body has: nobody waits for one of them to be given up.
        async with asyncio.timeout(BODY_TIMEOUT / 2):
            assert (await door.keys(PIN, asked)).conference == "C-1001"
        reader, writer = connections[500]
        writer.write(request[500 % len(request) :])
        assert door.cloud.heard(await read_answer(reader)).conference == "C-1001"
    finally:
        for _, writer in connections:
            writer.transport.abort()


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"\0" * 100, b"{", b"[]", b"null", b"&&&=", os.urandom(64), b"[" * 60_000]
)
async def test_garbage_is_a_problem(door: Door, body: bytes) -> None:
    """Signed garbage too, where it can be signed: a form is what it is read as."""
    unsigned = await door.ask(post_of(door, body))
    assert unsigned.status == 403


def post_of(door: Door, body: bytes) -> bytes:
    return f"POST {door.cloud.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


# How it opens


def sections(**settings: dict[str, Any]) -> Doors:
    twiml, jambonz = settings.get("twiml"), settings.get("jambonz")
    return Doors(twiml=Twiml(**twiml) if twiml else Twiml(), jambonz=Jambonz(**jambonz) if jambonz else Jambonz())


async def test_the_settings_open_both_doors(live: Live, tmp_path: Path) -> None:
    file = str(secret_file(tmp_path))
    around = surroundings(live, tmp_path)
    doors = sections(
        twiml={"enabled": True, "port": 0, "url": CLOUDS[0].url, "auth_token_file": file},
        jambonz={"enabled": True, "port": 0, "url": CLOUDS[1].url, "secret_file": file},
    )
    with structlog.testing.capture_logs() as logged:
        async with opened_doors(enabled(doors, around)):
            told = {line["door"]: line["port"] for line in logged if line["event"] == "door_opened"}
            for cloud in CLOUDS:
                greeted = await Door(cloud, told[cloud.name], around).calls()
                assert greeted.said == texts(Prompt.PASSCODE)
    assert list(told) == ["twiml", "jambonz"]
    assert list(enabled(Doors(), around)) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"url": ""}, "url: must be how the cloud reaches this door"),
        ({"url": "https://rollcall.example.com"}, "url: must be how the cloud reaches this door"),
        ({"file": ""}, "file: must name the file with the secret"),
        ({"file": "none"}, "file: none: there is no such file"),
    ],
)
async def test_without_address_or_secret_it_stays_shut(
    cloud: Cloud, live: Live, tmp_path: Path, settings: dict[str, str], problem: str
) -> None:
    names = {"url": "url", "file": "auth_token_file" if cloud.name == "twiml" else "secret_file"}
    told: dict[str, Any] = {names[name]: value for name, value in settings.items()}
    with pytest.raises(SettingsError) as caught:
        async with opened(cloud, live, tmp_path, **told):
            raise AssertionError
    name, _, rest = problem.partition(":")
    assert str(caught.value).startswith(f"doors.{cloud.name}.{names[name]}:{rest}")


async def test_a_secret_that_others_may_read_keeps_it_shut(cloud: Cloud, live: Live, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    file = secret_file(tmp_path / "open")
    file.chmod(0o644)
    told: dict[str, Any] = {"auth_token_file" if cloud.name == "twiml" else "secret_file": str(file)}
    with pytest.raises(SettingsError, match="can be read by others"):
        async with opened(cloud, live, tmp_path, **told):
            raise AssertionError


async def test_a_port_in_use_is_told_by_its_setting(cloud: Cloud, live: Live, tmp_path: Path) -> None:
    async with opened(cloud, live, tmp_path) as door:
        with pytest.raises(PortError, match=rf"^doors\.{cloud.name}\.port: port {door.port} on 127.0.0.1 is in use"):
            async with opened(cloud, live, tmp_path, port=door.port):
                raise AssertionError
