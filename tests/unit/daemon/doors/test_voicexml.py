"""Whole calls of a VoiceXML platform through its door, over a real port: see :mod:`vxml_browser` for what walks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import structlog

from daemon.doors import voicexml
from daemon.doors.dialogue import Prompt
from daemon.doors.opening import enabled
from daemon.doors.opening import opened as opened_doors
from daemon.doors.spoken import LOCALES, said
from daemon.doors.surroundings import Surroundings
from daemon.doors.voicexml_documents import RETURNED
from daemon.live import Live
from daemon.throttle import NO_THROTTLE, Throttle
from daemon.verify import Verifier
from loader.compiled import Block
from loader.door_sections import Doors, SpokenPrompts, VoiceXml
from loader.index import Question
from loader.logs import exception_told
from loader.model import Conference, Passcode
from loader.service import PortError
from tests.unit.daemon.doors.conftest import OWNERS, TOKEN
from tests.unit.daemon.doors.platforms import (
    BASIC,
    CALLER,
    OPEN,
    PASSCODE,
    PIN,
    Door,
    opened,
    read_answer,
    request,
)
from tests.unit.daemon.doors.throttles import locked
from tests.unit.daemon.doors.vxml_browser import MEDIA_TYPE, Browser, Caller, checked

SESSION = {"callid": "call-17", "connection": {"remote": {"uri": CALLER}}}
BRIDGE = "sip:{conference}@bridge.example.com"
NOBODY = dict.fromkeys(("first_name", "last_name", "company", "level"), "")
MIKE = {"first_name": "Mike", "last_name": "Doe", "company": "XYZ", "level": "organizer"}


def serving(surroundings: Surroundings, **settings: Any) -> AbstractAsyncContextManager[int]:
    return voicexml.serving(VoiceXml(**{"enabled": True, "port": 0, **settings}), surroundings)


def opening(
    live: Live, folder: Path, *, throttle: Throttle = NO_THROTTLE, **settings: Any
) -> AbstractAsyncContextManager[Door]:
    return opened("voicexml", partial(serving, **settings), live, folder, throttle=throttle)


@pytest.fixture
async def door(live: Live, tmp_path: Path) -> AsyncIterator[Door]:
    async with opening(live, tmp_path) as door:
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


def texts(*names: str, language: str = "en") -> list[str]:
    return [said(Prompt(name), language, SpokenPrompts()) for name in names]


def returned(**values: str) -> dict[str, str]:
    return {**dict.fromkeys(RETURNED, ""), "call_id": "call-17", **values}


# Who is let in


@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("given", ["address", "settings"])
async def test_the_subdialog_asks_and_returns_who_it_is(live: Live, tmp_path: Path, language: str, given: str) -> None:
    """In one language from the first word to the last, be it of the address or of the settings."""
    settings: dict[str, Any] = {"language": language} if given == "settings" else {}
    query = f"?language={language}" if given == "address" else ""
    async with opening(live, tmp_path, **settings) as door:
        browser = Browser(door, [f"{PASSCODE}#", "4321#", f"{PIN}#"], session=SESSION)
        ended = await browser.subdialog(f"/subdialog.vxml{query}")
    assert ended == ("return", returned(result="accepted", conference_id="C-1001", **MIKE), "")
    assert browser.said == texts("passcode", "pin", "wrong_pin", "pin", language=language)
    assert browser.languages == {LOCALES[language]}


@pytest.mark.parametrize("query", ["", "?language=", "?language=xx", "?language=de&language=fr", "?x=%ff"])
async def test_a_language_that_nobody_speaks_is_that_of_the_settings(live: Live, tmp_path: Path, query: str) -> None:
    async with opening(live, tmp_path, language="de") as door:
        browser = Browser(door, [PASSCODE])
        await browser.call(f"/dialogue.vxml{query}")
        assert browser.said[:2] == texts("passcode", "pin", language="de")


async def test_a_conference_without_pin_entry_is_joined_by_its_passcode_and_names_nobody(door: Door) -> None:
    ended = await Browser(door, [f"{OPEN}#"], session=SESSION).subdialog()
    assert ended.values == returned(result="accepted", conference_id="C-1002", **NOBODY)


async def test_the_whole_dialogue_transfers_who_is_accepted(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path, transfer_to=BRIDGE) as door:
        browser = Browser(door, [f"{PASSCODE}#", f"{PIN}#"])
        assert await browser.call("/dialogue.vxml?language=fr") == ("transfer", {}, "sip:C-1001@bridge.example.com")
        assert browser.said == texts("passcode", "pin", language="fr")


async def test_without_an_address_to_transfer_to_it_exits_with_who_it_is(door: Door) -> None:
    ended = await Browser(door, [f"{PASSCODE}#", f"{PIN}#"], session=SESSION).call()
    assert ended == ("exit", returned(result="accepted", conference_id="C-1001", **MIKE), "")


@pytest.mark.parametrize("transfer_to", ["", BRIDGE])
async def test_what_lets_in_asks_for_the_word_itself(live: Live, tmp_path: Path, transfer_to: str) -> None:
    """Whatever a platform does with what stands before."""
    async with opening(live, tmp_path, transfer_to=transfer_to) as door:
        *_, onward = checked((await door.ask(request("GET", "/dialogue.vxml"))).body).iterfind("form/*")
    assert (onward.tag, onward.get("cond")) == ("transfer" if transfer_to else "block", "rollcall.result == 'accepted'")


async def test_behind_a_proxy_the_documents_find_each_other_below_its_path(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path) as door:
        answer = await door.ask(request("GET", "/dialogue.vxml"))
        assert b'src="subdialog.vxml?language=en"' in answer.body
        answer = await door.ask(request("GET", "/subdialog.vxml"))
        assert b'next="heard.vxml?language=en"' in answer.body


async def test_keys_that_a_platform_parts_are_one_pin(door: Door) -> None:
    """How a grammar's tokens are put together is the platform's own choice: VoiceXML 2.0, section 3.1.6."""
    assert (await Browser(door, [PASSCODE, PIN], parted=True).subdialog()).values["result"] == "accepted"


async def test_keys_may_be_begun_anew(door: Door) -> None:
    assert (await Browser(door, [f"99*{PASSCODE}#", f"1*2*{PIN}#"]).subdialog()).values["result"] == "accepted"


async def test_the_token_may_come_as_basic_or_bearer(door: Door) -> None:
    for authorization in (BASIC, f"Bearer {TOKEN}"):
        ended = await Browser(door, [OPEN], authorization=authorization).subdialog()
        assert ended.values["result"] == "accepted"


# What is told of the call


@pytest.mark.parametrize(
    ("session", "params", "call_id", "caller"),
    [
        (SESSION, {}, "call-17", CALLER),
        ({"sessionid": "s-5", "connection": {}}, {}, "s-5", None),
        ({"callid": "", "sessionid": "s-5"}, {}, "s-5", None),
        (SESSION, {"call_id": "own-1", "caller": "sip:own"}, "own-1", "sip:own"),
        ({"callid": "'<&\u2028\\😀"}, {}, "'<&\u2028\\😀", None),
        ({"callid": "x" * 300, "connection": {"remote": {"uri": "y" * 300}}}, {}, "x" * 128, "y" * 128),
        ({}, {}, None, None),
        (None, {}, None, None),
    ],
)
async def test_the_call_and_the_caller_are_told_to_verify_from_first_to_last(
    door: Door,
    verified: list[Question],
    session: dict[str, Any] | None,
    params: dict[str, str],
    call_id: str | None,
    caller: str | None,
) -> None:
    """A platform that has no ID of a call, nor even a session, is given a random one with the first document."""
    ended = await Browser(door, [PASSCODE, PIN], session=session).subdialog(**params)
    assert {question.caller for question in verified} == {caller}
    (told,) = {question.call_id for question in verified}
    assert told == ended.values["call_id"]
    if call_id is None:
        assert told is not None
        assert len(told) >= 16
    else:
        assert told == call_id


async def test_two_calls_without_an_id_are_told_apart(door: Door) -> None:
    ended = [await Browser(door, [OPEN]).subdialog() for _ in range(2)]
    assert ended[0].values["call_id"] != ended[1].values["call_id"]


async def test_no_pin_stands_in_an_address_nor_in_a_log(door: Door) -> None:
    with structlog.testing.capture_logs() as logged:
        browser = Browser(door, [PASSCODE, PIN])
        await browser.call()
    assert [method for method, _, _ in browser.requests] == ["GET", "GET", "POST", "POST"]
    assert not any(PASSCODE in target or PIN in target for _, target, _ in browser.requests)
    assert PASSCODE.encode() not in browser.requests[-1][2]
    assert not logged


# Who is not


WRONG = [
    (["1", "2", "3"], ["passcode", *["wrong_passcode", "passcode"] * 2, "wrong_passcode"], "unknown_passcode", 3),
    ([PASSCODE, "1", "2", "3"], ["passcode", "pin", *["wrong_pin", "pin"] * 2, "wrong_pin"], "unknown_pin", 3),
    ([PASSCODE, *["99"] * 3], ["passcode", "pin", *["wrong_pin", "pin"] * 2, "wrong_pin"], "inactive_pin", 3),
    ([], ["passcode"] * 3, "nothing_keyed", 0),
    ([PASSCODE, "", "#", "*"], ["passcode", *["pin"] * 3], "nothing_keyed", 0),
    # Too long, and no key of the grammar: both are no match.
    ([PASSCODE, "1" * 34, "A", "1" * 99], ["passcode", *["pin"] * 3], "nothing_keyed", 0),
]


@pytest.mark.parametrize(("keyed", "heard", "reason", "count"), WRONG)
async def test_who_is_wrong_or_silent_three_times_is_dismissed(
    live: Live, tmp_path: Path, keyed: list[str], heard: list[str], reason: str, count: int
) -> None:
    """To the caller an inactive PIN sounds as a wrong one."""
    async with opening(live, tmp_path, transfer_to=BRIDGE) as door:
        browser = Browser(door, keyed, session=SESSION)
        ended = await browser.subdialog()
        assert ended.values == returned(result="rejected", reason=reason)
        assert browser.said == texts(*heard, "goodbye")
        assert count == 0 or door.verifications(reason) == count
        assert (await Browser(door, keyed).call()).how == "disconnect"


@pytest.mark.parametrize("caller", [True, False])
async def test_who_is_locked_out_hears_so_and_is_dismissed(live: Live, tmp_path: Path, caller: bool) -> None:
    async with opening(live, tmp_path, throttle=locked(caller=caller)) as door:
        browser = Browser(door, [PASSCODE, PIN], session=SESSION)
        ended = await browser.subdialog()
        assert ended.values == returned(result="rejected", reason="locked", retry_after="60")
        assert browser.said[-2:] == texts("locked", "goodbye")
        assert door.verifications("locked") == 1
        assert (await Browser(door, [PASSCODE, PIN]).call()).how == "disconnect"


@pytest.mark.parametrize("keyed", [[], [PASSCODE], [PASSCODE, "1"]])
async def test_who_hangs_up_at_any_step_is_rejected(door: Door, keyed: list[str]) -> None:
    ended = await Browser(door, [*keyed, Caller.HANGS_UP], session=SESSION).subdialog()
    assert ended.values == returned(result="rejected", reason="hung_up")
    assert (await Browser(door, [*keyed, Caller.HANGS_UP]).call()).how == "disconnect"
    assert door.verifications("accepted") == 0


@pytest.mark.parametrize("failing", [1, 2, 3])
async def test_where_an_answer_does_not_come_the_dialogue_ends_with_an_excuse(
    live: Live, tmp_path: Path, failing: int
) -> None:
    async with opening(live, tmp_path, transfer_to=BRIDGE) as door:
        browser = Browser(door, [PASSCODE, PIN], failing=[failing])
        assert (await browser.call()).how == "disconnect"
        assert browser.said[-2:] == texts("unavailable", "goodbye")


@pytest.mark.parametrize("failing", [1, 2])
async def test_where_an_answer_does_not_come_the_subdialog_returns_an_error_after_an_excuse(
    door: Door, failing: int
) -> None:
    browser = Browser(door, [PASSCODE, PIN], failing=[failing], session=SESSION)
    assert (await browser.subdialog()).values == returned(result="error", reason="unavailable")
    assert browser.said[-2:] == texts("unavailable", "goodbye")


async def test_while_nothing_is_loaded_the_result_is_an_error(live: Live, tmp_path: Path) -> None:
    empty = Live()
    empty.tokens = live.tokens
    async with opening(empty, tmp_path) as door:
        browser = Browser(door, [PASSCODE], session=SESSION)
        assert (await browser.subdialog()).values == returned(result="error", reason="unavailable")
        assert browser.said == texts("passcode", "unavailable", "goodbye")
    async with opening(Live(), tmp_path) as door:
        assert (await Browser(door).subdialog()).values == {"event": "error.badfetch.http.503"}
        assert (await Browser(door).call()).values == {"event": "error.badfetch.http.503"}


async def test_what_breaks_is_logged_without_its_text_and_is_an_error(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError(f"no {PASSCODE}")

    monkeypatch.setattr(Verifier, "verify", broken)
    with structlog.testing.capture_logs() as logged:
        browser = Browser(door, [PASSCODE], session=SESSION)
        ended = await browser.subdialog()
    assert ended.values == returned(result="error", reason="unavailable")
    assert browser.said == texts("passcode", "unavailable", "goodbye")
    (line,) = logged
    error = line.pop("exc_info")
    assert line["event"] == "request_failed"
    assert PASSCODE not in exception_told((type(error), error, error.__traceback__))


async def test_a_transfer_that_fails_ends_with_an_excuse(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path, transfer_to=BRIDGE) as door:
        browser = Browser(door, [OPEN], transfers=False)
        assert (await browser.call()).how == "disconnect"
        assert browser.said == texts("passcode", "unavailable", "goodbye")


# What is refused


REFUSED = [
    (request("GET", "/subdialog.vxml", authorization=""), 401),
    (request("GET", "/dialogue.vxml", authorization="Bearer rc_wrong"), 401),
    (request("POST", "/heard.vxml", b"call_id=1&digits=7784322", authorization="Basic x"), 401),
    (request("POST", "/heard.vxml", b"digits=7784322"), 400),
    (request("POST", "/heard.vxml", b"call_id=&digits=7784322"), 400),
    (request("POST", "/heard.vxml", b"call_id=1&digits=7784322&digits=1"), 400),
    (request("POST", "/heard.vxml", b"call_id=1&state=x&digits=7784322"), 400),
    (request("POST", "/heard.vxml", b"\xff=\0"), 400),
    (request("POST", "/heard.vxml", b"x" * 70_000), 413),
    (request("GET", "/heard.vxml?call_id=1&digits=7784322"), 405),
    (request("POST", "/subdialog.vxml", b"call_id=1&digits=7784322"), 405),
    (request("GET", "/"), 404),
    (b"nonsense\r\n\r\n", 400),
]


@pytest.mark.parametrize(("data", "status"), REFUSED)
async def test_whatever_is_refused_is_refused_by_status_and_with_a_document_that_ends_the_call(
    door: Door, data: bytes, status: int
) -> None:
    """Platforms throw `error.badfetch` for the status; one that reads the document all the same admits nobody either."""
    answer = await door.ask(data)
    assert (answer.status, answer.headers["content-type"]) == (status, MEDIA_TYPE)
    (block,) = checked(answer.body).iterfind("form/*")
    assert [step.tag for step in block] == ["prompt", "prompt", "exit"]
    assert door.refused(status) == 1
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert b"7784322" not in answer.body


async def test_without_a_token_a_caller_hears_the_excuse_of_the_document_that_asks(live: Live, tmp_path: Path) -> None:
    """The dialogue was fetched by who had a token, and it is taken from him before the first answer."""
    async with opening(live, tmp_path) as door:
        browser = Browser(door, [PASSCODE], session=SESSION)
        page = await browser._fetch("GET", "/subdialog.vxml")
        live.swap_switches([])
        (form,) = page.iterfind("form")
        with pytest.raises(Exception, match=r"^$") as caught:
            await browser._form(page, form, "/subdialog.vxml", {})
        assert caught.value.values == returned(result="error", reason="unavailable")  # type: ignore[attr-defined]
        assert browser.said == texts("passcode", "unavailable", "goodbye")


# The state


async def test_a_submit_that_comes_twice_is_answered_the_same_and_counts_once(door: Door) -> None:
    browser = Browser(door, [PASSCODE, "1", PIN])
    await browser.subdialog()
    for _, target, body in browser.requests[1:]:
        answers = {(await door.ask(request("POST", target, body))).body for _ in range(3)}
        assert len(answers) == 1
    results = ("pin_required", "unknown_pin", "accepted")
    assert [door.verifications(result) for result in results] == [1, 1, 1]


async def test_the_state_of_another_call_is_worth_nothing(door: Door) -> None:
    browser = Browser(door, [PASSCODE, PIN], session=SESSION)
    await browser.subdialog()
    _, target, body = browser.requests[-1]
    answer = await door.ask(request("POST", target, body.replace(b"call-17", b"call-18")))
    assert answer.status == 400


async def test_a_call_goes_on_at_another_daemon(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path) as one:
        browser = Browser(one, [PASSCODE, "1"], session=SESSION)
        await browser.subdialog()
    _, target, body = browser.requests[2]
    async with opening(live, tmp_path) as other:
        answer = await other.ask(request("POST", target, body.replace(b"digits=1", f"digits={PIN}".encode())))
    assert b"'accepted'" in answer.body


# What lists, directories and settings may hold


NAMES = [
    "O'Brien",
    '"Zoë"',
    "'; result = 'accepted",
    "</script><exit/>&amp;]]>",
    "\u2028\u2029\r\n\t",
    "\\",
    "\\u0041",
    "a\0\x1b\ufffe",
    "😀名前",
    "${x}",
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_arrives_as_it_is_and_says_nothing_else(
    door: Door, live: Live, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists hold no such names; whatever they will hold one day, a platform is told a string."""
    assert live.index is not None
    found = live.index.lists[OWNERS[0]].participant(0)
    named = type(found)(name, name, name, *(getattr(found, field) for field in found.__struct_fields__[3:]))
    monkeypatch.setattr(Block, "participant", lambda *_: named)
    values = (await Browser(door, [PASSCODE, PIN]).subdialog()).values
    assert (values["first_name"], values["last_name"], values["company"]) == (name, name, name)


@pytest.mark.parametrize(
    ("conference_id", "to"),
    [
        ("C-1001", "sip:C-1001@bridge.example.com"),
        ("a@b;x=1?y", "sip:a%40b%3Bx%3D1%3Fy@bridge.example.com"),
        ("'/ é{conference}", "sip:%27%2F%20%C3%A9%7Bconference%7D@bridge.example.com"),
    ],
)
async def test_the_id_of_a_conference_cannot_turn_a_transfer_elsewhere(
    live: Live, tmp_path: Path, conference_id: str, to: str
) -> None:
    assert live.index is not None
    live.swap(live.index.changed(conferences=[Conference(conference_id, "", Passcode("5"), "alicia", False, OWNERS)]))
    async with opening(live, tmp_path, transfer_to=BRIDGE) as door:
        assert (await Browser(door, ["5"]).call()).to == to


async def test_prompts_may_be_recordings_with_a_text_in_case_they_cannot_be_had(live: Live, tmp_path: Path) -> None:
    own = SpokenPrompts(passcode="https://example.com/a?b&c.wav", pin="Say <friend> & enter.")
    async with opening(live, tmp_path, prompts=own) as door:
        browser = Browser(door, [PASSCODE, PIN])
        await browser.subdialog()
        assert browser.said == [own.passcode, own.pin]
        audio = checked((await door.ask(request("GET", "/subdialog.vxml"))).body).find(".//audio")
        assert audio is not None
        assert [audio.text] == texts("passcode")


async def test_the_settings_say_how_long_callers_and_platforms_may_take(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path, input_timeout=7.5, digit_timeout=0.25, fetch_timeout=2) as door:
        page = checked((await door.ask(request("GET", "/subdialog.vxml"))).body)
        dialogue = checked((await door.ask(request("GET", "/dialogue.vxml"))).body)
    told = {one.get("name"): one.get("value") for one in page.iterfind("property")}
    assert (told["timeout"], told["interdigittimeout"], told["fetchtimeout"]) == ("7500ms", "250ms", "2000ms")
    fetches = [one.get("fetchtimeout") for one in (*page.iter("submit"), *dialogue.iter("subdialog"))]
    assert fetches == ["2000ms"] * 4


async def test_documents_are_not_to_be_kept(door: Door) -> None:
    """Each first document has an ID of its own."""
    dialogue = checked((await door.ask(request("GET", "/dialogue.vxml"))).body)
    assert [one.get("maxage") for one in dialogue.iter("subdialog")] == ["0"]
    for target in ("/dialogue.vxml", "/subdialog.vxml"):
        answer = await door.ask(request("GET", target))
        assert answer.headers["cache-control"] == "no-store"
        assert answer.body.startswith(b"<?xml version='1.0' encoding='utf-8'?>")
        assert ET.fromstring(answer.body) is not None


# The document for who has one of his own


@pytest.mark.parametrize(
    ("keyed", "settings", "how", "heard"),
    [
        ([PASSCODE, PIN], {}, "transfer", ["passcode", "pin"]),
        ([PASSCODE, Caller.HANGS_UP], {}, "disconnect", ["passcode", "pin"]),
        ([PASSCODE, "1", "2", "3"], {}, "disconnect", None),
        ([PASSCODE, PIN], {"failing": [0]}, "disconnect", []),
        ([PASSCODE, PIN], {"failing": [1]}, "disconnect", ["passcode", "unavailable", "goodbye"]),
        ([PASSCODE, PIN], {"authorization": ""}, "disconnect", []),
        ([PASSCODE, PIN], {"transfers": False}, "disconnect", ["passcode", "pin"]),
    ],
)
async def test_the_document_that_is_shipped_fails_closed(
    live: Live, tmp_path: Path, keyed: list[str | Caller], settings: dict[str, Any], how: str, heard: list[str] | None
) -> None:
    """With an excuse of its own where Rollcall cannot say one."""
    document = (Path(__file__).parents[4] / "configs/switches/voicexml/caller.vxml").read_bytes()
    async with opening(live, tmp_path, transfer_to=BRIDGE) as door:
        browser = Browser(door, keyed, **settings)
        assert (await browser.walk(document)).how == how
        excused = browser.said[-1].startswith("We are sorry") and browser.said[-1].endswith("Goodbye.")
        assert excused == (settings.get("failing") == [0] or "authorization" in settings or "transfers" in settings)
        if heard is not None:
            assert browser.said[: len(browser.said) - excused] == texts(*heard)


# The load, and how it opens


async def test_a_thousand_half_sent_requests_keep_nobody_waiting(door: Door) -> None:
    whole = request("POST", "/heard.vxml", b"call_id=1&digits=7784322")
    connections = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(1000)]
    try:
        for at, (_, writer) in enumerate(connections):
            writer.write(whole[: at % len(whole)])
        async with asyncio.timeout(2):
            assert (await Browser(door, [PASSCODE, PIN]).subdialog()).values["result"] == "accepted"
        reader, writer = connections[50]
        writer.write(whole[50:])
        assert b"'accepted'" in (await read_answer(reader)).body
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def test_the_settings_open_it(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path) as other:
        doors = enabled(Doors(voicexml=VoiceXml(enabled=True, port=0)), other.surroundings)
        with structlog.testing.capture_logs() as logged:
            async with opened_doors(doors):
                (told,) = logged
                ended = await Browser(Door("voicexml", told["port"], other.surroundings), [OPEN]).call()
    assert (told["door"], ended.values["result"]) == ("voicexml", "accepted")


async def test_a_port_in_use_is_told_by_its_setting(door: Door, live: Live, tmp_path: Path) -> None:
    with pytest.raises(PortError, match=rf"^doors\.voicexml\.port: port {door.port} on 127.0.0.1 is in use"):
        async with opening(live, tmp_path, port=door.port):
            raise AssertionError
