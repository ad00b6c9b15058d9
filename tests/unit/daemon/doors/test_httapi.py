"""Whole calls of a FreeSWITCH through the door for its mod_httapi, over a real port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import structlog

from daemon.doors import httapi
from daemon.doors.opening import enabled
from daemon.doors.opening import opened as opened_doors
from daemon.doors.surroundings import Surroundings
from daemon.live import Live
from daemon.throttle import NO_THROTTLE, Throttle
from daemon.verify import Verifier
from loader.compiled import Block
from loader.door_sections import Doors, Httapi, HttapiPrompts
from loader.index import Question
from loader.logs import exception_told
from loader.model import Conference, Passcode
from loader.service import PortError
from tests.unit.daemon.doors.conftest import OWNERS, TOKEN
from tests.unit.daemon.doors.freeswitch import UNREAD, Caller, Channel, checked, matched
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

SAID = HttapiPrompts(
    passcode="passcode.wav",
    pin="pin.wav",
    wrong_passcode="wrong_passcode.wav",
    wrong_pin="wrong_pin.wav",
    locked="locked.wav",
    unavailable="unavailable.wav",
    goodbye="goodbye.wav",
)


def serving(surroundings: Surroundings, **settings: Any) -> AbstractAsyncContextManager[int]:
    return httapi.serving(Httapi(**{"enabled": True, "port": 0, "prompts": SAID, **settings}), surroundings)


def opening(
    live: Live, folder: Path, *, throttle: Throttle = NO_THROTTLE, **settings: Any
) -> AbstractAsyncContextManager[Door]:
    return opened("httapi", partial(serving, **settings), live, folder, throttle=throttle)


@pytest.fixture
async def door(live: Live, tmp_path: Path) -> AsyncIterator[Door]:
    async with opening(live, tmp_path) as door:
        yield door


def said(*names: str) -> list[str]:
    return [f"{name}.wav" for name in names]


def is_out(channel: Channel) -> bool:
    """Whether the door has ended the call before a conference."""
    return not channel.conference and bool(channel.hung_up)


# Who is let in


async def test_a_caller_keys_passcode_and_pin_and_is_in_the_conference_under_his_name(door: Door) -> None:
    channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"]).run()
    assert (channel.conference, channel.name) == ("C-1001", "Mike Doe")
    assert channel.played == said("passcode", "pin")
    assert channel.requests == 5, "two questions, one more before the conference, and the end"


async def test_a_conference_without_pin_entry_is_joined_by_its_passcode_and_names_nobody(door: Door) -> None:
    channel = await Channel(door, [f"{OPEN}#"]).run()
    assert (channel.conference, channel.name, channel.played) == ("C-1002", "Handset", said("passcode"))


@pytest.mark.parametrize("keys", [f"{PASSCODE}#{PIN}#", f"99*{PASSCODE}#1*2*{PIN}#"])
async def test_keys_may_be_pressed_ahead_and_begun_anew(door: Door, keys: str) -> None:
    assert (await Channel(door, [keys]).run()).conference == "C-1001"


async def test_nobody_has_to_press_the_pound_key(door: Door) -> None:
    assert (await Channel(door, [PASSCODE, PIN]).run()).conference == "C-1001"


async def test_the_call_and_the_caller_are_told_to_verify(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Question] = []
    verify = Verifier.verify

    def spy(self: Verifier, question: Question, begun: float) -> Any:
        asked.append(question)
        return verify(self, question, begun)

    monkeypatch.setattr(Verifier, "verify", spy)
    channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"]).run()
    assert asked == [Question(PASSCODE, "", channel.uuid, CALLER), Question(PASSCODE, PIN, channel.uuid, CALLER)]


async def test_the_token_may_come_as_basic_or_bearer(door: Door) -> None:
    for authorization in (BASIC, f"Bearer {TOKEN}"):
        assert (await Channel(door, [f"{OPEN}#"], uuid=authorization[:6], authorization=authorization).run()).conference


# Who is not


@pytest.mark.parametrize(
    ("keyed", "played", "result", "count"),
    [
        (
            ["1#", "2#", "3#"],
            ["passcode", *["wrong_passcode", "passcode"] * 2, "wrong_passcode"],
            "unknown_passcode",
            3,
        ),
        (
            [f"{PASSCODE}#", "1#", "2#", "3#"],
            ["passcode", "pin", *["wrong_pin", "pin"] * 2, "wrong_pin"],
            "unknown_pin",
            3,
        ),
        (
            [f"{PASSCODE}#", *["99#"] * 3],
            ["passcode", "pin", *["wrong_pin", "pin"] * 2, "wrong_pin"],
            "inactive_pin",
            3,
        ),
        ([], ["passcode"] * 3, "unknown_passcode", 0),
        ([f"{PASSCODE}#", "#", "*#"], ["passcode", *["pin"] * 3], "unknown_pin", 0),
    ],
)
async def test_who_is_wrong_or_silent_three_times_is_dismissed(
    door: Door, keyed: list[str], played: list[str], result: str, count: int
) -> None:
    """To the caller an inactive PIN sounds as a wrong one."""
    channel = await Channel(door, keyed).run()
    assert channel.played == said(*played, "goodbye")
    assert is_out(channel)
    assert channel.hung_up == "NORMAL_CLEARING"
    assert (door.verifications(result), door.events()) == (count, (0, 0))


async def test_the_third_pin_may_be_the_right_one(door: Door) -> None:
    assert (await Channel(door, [f"{PASSCODE}#", "1#", "2#", f"{PIN}#"]).run()).conference == "C-1001"


@pytest.mark.parametrize("caller", [True, False])
async def test_who_is_locked_out_hears_so_and_is_dismissed(live: Live, tmp_path: Path, caller: bool) -> None:
    async with opening(live, tmp_path, throttle=locked(caller=caller)) as door:
        channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"]).run()
        assert channel.played[-2:] == said("locked", "goodbye")
        assert is_out(channel)
        assert door.verifications("locked") == 1


@pytest.mark.parametrize("loaded", [False, True])
async def test_while_nothing_is_loaded_the_caller_hears_an_excuse(live: Live, tmp_path: Path, loaded: bool) -> None:
    """Be it from the first request on, or only when there is something to decide."""
    empty = Live()
    if loaded:
        empty.tokens = live.tokens
    async with opening(empty, tmp_path) as door:
        channel = await Channel(door, [f"{PASSCODE}#"]).run()
        assert channel.played[-2:] == said("unavailable", "goodbye")
        assert (is_out(channel), channel.hung_up) == (True, "NORMAL_TEMPORARY_FAILURE")


async def test_what_breaks_is_logged_without_its_text_and_ends_the_call_with_an_excuse(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError(f"no {PASSCODE}")

    monkeypatch.setattr(Verifier, "verify", broken)
    with structlog.testing.capture_logs() as logged:
        channel = await Channel(door, [f"{PASSCODE}#"]).run()
    assert channel.played == said("passcode", "unavailable", "goodbye")
    assert is_out(channel)
    (line,) = logged
    error = line.pop("exc_info")
    assert line["event"] == "request_failed"
    assert PASSCODE not in exception_told((type(error), error, error.__traceback__))
    assert channel.logged == ["Rollcall: Service Unavailable. Something broke; it is in the log.\n"]


# What is refused


@pytest.mark.parametrize("authorization", ["", "Basic", "Bearer rc_wrong", "Basic !", f"Basic {TOKEN}"])
async def test_without_the_token_the_caller_hears_an_excuse_and_the_switch_logs_why(
    door: Door, authorization: str
) -> None:
    channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"], authorization=authorization).run()
    assert channel.played == said("unavailable", "goodbye")
    assert channel.logged == ["Rollcall: Unauthorized. The token is missing or not one of a switch.\n"]
    assert (is_out(channel), door.refused(401)) == (True, 2)


async def test_a_switch_that_keeps_no_parameters_is_told_which_permission_it_lacks(door: Door) -> None:
    """It must not be given new tries with each question."""
    channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"], denied=["set-params"]).run()
    assert "set-params" in channel.logged[0]
    assert is_out(channel)
    assert door.verifications("pin_required") == 0


@pytest.mark.parametrize("denied", ["execute-apps", "conference"])
async def test_without_a_permission_nobody_gets_in(door: Door, denied: str) -> None:
    channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"], denied=[denied]).run()
    assert is_out(channel)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_another_method_than_post_never_verifies(door: Door, method: str) -> None:
    target = f"/httapi?session_id=1&rollcall_digits={PIN}"
    answer = await door.ask(request(method, target).replace(b"HEAD", b"GET"))
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml")
    work = checked(answer.body)[-1]
    assert [tag.tag for tag in work] == ["log", "playback", "playback", "hangup"]
    assert work[0].text == "Rollcall: Method Not Allowed. This address is for POST.\n"
    assert PIN not in answer.text


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request("POST", "/httapi", b""), 400),
        (request("POST", "/httapi", b"session_id="), 400),
        (request("POST", "/httapi", b"session_id=1&session_id=2"), 400),
        (request("POST", "/httapi", b"session_id=1&rollcall_state=x"), 400),
        (request("POST", "/httapi", b"session_id=1&rollcall_state=" + b"A" * 200), 400),
        (request("POST", "/httapi", b"session_id=1&rollcall_digits=004127"), 400),
        (request("POST", "/httapi", b"session_id=1&rollcall_digits=1&rollcall_digits=2"), 400),
        (request("POST", "/httapi", b"\xff\xfe=\xff&\0"), 400),
        (request("POST", "/httapi", b"{}"), 400),
        (request("POST", "/httapi", b"x" * 70_000), 413),
        (request("POST", "/", b"session_id=1"), 404),
        (request("POST", "/httapi/", b"session_id=1"), 404),
        (request("GET", "/"), 404),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (request("POST", "/httapi", b"").replace(b"Accept: */*", b"Expect: tea"), 417),
    ],
)
async def test_whatever_is_refused_is_refused_with_a_document_of_status_200(
    door: Door, data: bytes, status: int
) -> None:
    answer = await door.ask(data)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml")
    assert [tag.tag for tag in checked(answer.body)[-1]] == ["log", "playback", "playback", "hangup"]
    assert door.refused(status) == 1
    assert b"4127" not in answer.body


# The state


async def test_a_request_that_comes_twice_is_answered_the_same_and_counts_once(door: Door) -> None:
    channel = await Channel(door, [f"{PASSCODE}#", "1#", f"{PIN}#"]).run()
    counted = [door.verifications(result) for result in ("pin_required", "unknown_pin", "accepted")]
    answers = [await door.ask(request("POST", "/httapi", body)) for body in channel.bodies[1:] * 2]
    assert {answer.body for answer in answers[:4]} == {answer.body for answer in answers[5:9]}
    assert (
        [door.verifications(result) for result in ("pin_required", "unknown_pin", "accepted")] == counted == [1, 1, 1]
    )
    assert door.events() == (1, 1)


async def test_the_state_of_another_call_is_worth_nothing(door: Door) -> None:
    channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"]).run()
    for body in channel.bodies[1:]:
        stolen = body.replace(channel.uuid.encode(), b"another")
        answer = await door.ask(request("POST", "/httapi", stolen))
        assert answer.body.count(b"<hangup") == 1
        assert b"<conference" not in answer.body
    assert door.events() == (1, 1)


async def test_a_call_goes_on_at_another_daemon(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path) as one:
        channel = await Channel(one, [f"{PASSCODE}#", "1#", Caller.HANGS_UP]).run()
    async with opening(live, tmp_path) as other:
        third = channel.bodies[-1].replace(b"exiting=true", f"rollcall_digits={PIN}".encode())
        answer = await other.ask(request("POST", "/httapi", third))
    assert b"Mike Doe" in answer.body


async def test_neither_passcode_nor_pin_is_kept_at_the_switch_nor_anything_logged(door: Door) -> None:
    with structlog.testing.capture_logs() as logged:
        channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"]).run()
    assert [PASSCODE.encode() in body for body in channel.bodies] == [False, True, False, False, False]
    assert [PIN.encode() in body for body in channel.bodies] == [False, False, True, False, False]
    assert not logged


# What becomes of calls


@pytest.mark.parametrize(
    ("keyed", "stays", "events"),
    [
        ([Caller.HANGS_UP], False, (0, 0)),
        ([f"{PASSCODE}#", Caller.HANGS_UP], False, (0, 0)),
        ([f"{PASSCODE}#", "1#", Caller.HANGS_UP], False, (0, 0)),
        ([f"{PASSCODE}#", f"{PIN}#"], False, (1, 1)),
        ([f"{PASSCODE}#", f"{PIN}#"], True, (1, 1)),
        ([f"{OPEN}#"], True, (1, 1)),
    ],
)
async def test_who_hangs_up_has_left_only_if_he_had_joined(
    door: Door, keyed: list[str | Caller], stays: bool, events: tuple[float, float]
) -> None:
    channel = await Channel(door, keyed, stays=stays).run()
    assert door.events() == events
    assert not channel.in_dialplan
    assert (channel.played[-1] == "goodbye.wav") == stays


async def test_nobody_has_joined_before_freeswitch_has_heard_that_he_may(door: Door) -> None:
    channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"], denied=["execute-apps"]).run()
    assert (door.verifications("accepted"), door.events()) == (1, (0, 0))
    assert is_out(channel)


# What lists and directories may hold


NAMES = [
    ('Zoë "Zed"', "O'Brien", 'Zoë "Zed" O\'Brien'),
    ("<hangup/>", "&amp; ]]>", "<hangup/> &amp; ]]>"),
    ("${system(reboot)}", "$", "{system(reboot)}"),
    ("a\\nb", "c\\", "anb c"),
    ("a\nb", "\r\n\tc", "a b c"),
    ("nul\0", "\x1b[2J", "nul [2J"),
    ("😀" * 200, "x", "😀" * 80),
    ("名前", "\ufffe\ud800", "名前"),
    ("", "", "Handset"),
]


@pytest.mark.parametrize(("first", "last", "shown"), NAMES)
async def test_a_name_is_shown_as_it_is_and_commands_nothing(
    door: Door, live: Live, first: str, last: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists hold no such names; whatever they will hold one day, FreeSWITCH is not told anything else by it."""
    assert live.index is not None
    found = live.index.lists[OWNERS[0]].participant(0)
    named = type(found)(first, last, *(getattr(found, field) for field in found.__struct_fields__[2:]))
    monkeypatch.setattr(Block, "participant", lambda *_: named)
    channel = await Channel(door, [f"{PASSCODE}#", f"{PIN}#"]).run()
    assert (channel.conference, channel.name) == ("C-1001", shown.strip())


@pytest.mark.parametrize(
    ("conference_id", "name"),
    [
        ("Weekly", "Weekly"),
        ("bridge:x", "bridge%3Ax"),
        ("a@b+1", "a%40b%2B1"),
        ("${x}", "%24%7Bx%7D"),
        (" é", "%20%C3%A9"),
    ],
)
async def test_the_id_of_a_conference_names_it_and_says_nothing_else(
    door: Door, live: Live, conference_id: str, name: str
) -> None:
    assert live.index is not None
    live.swap(live.index.changed(conferences=[Conference(conference_id, "", Passcode("5"), "alicia", False, OWNERS)]))
    assert (await Channel(door, ["5#"]).run()).conference == name


async def test_no_document_has_the_length_that_freeswitch_does_not_read(live: Live, tmp_path: Path) -> None:
    async def length(prompt: int) -> int:
        async with opening(live, tmp_path, prompts=HttapiPrompts(passcode="x" * prompt)) as door:
            return len((await door.ask(request("POST", "/httapi", b"session_id=1"))).body)

    unread = UNREAD - await length(1) + 1
    assert [await length(unread + more) for more in (-1, 0, 1)] == [UNREAD - 1, UNREAD + 1, UNREAD + 1]


@pytest.mark.parametrize("keyed", ["", f"{PASSCODE}#"])
async def test_a_prompt_without_a_file_is_silence(live: Live, tmp_path: Path, keyed: str) -> None:
    silent = HttapiPrompts(**dict.fromkeys(HttapiPrompts.__struct_fields__, ""))
    async with opening(live, tmp_path, prompts=silent) as door:
        channel = await Channel(door, [keyed, f"{PIN}#"] if keyed else []).run()
        assert not channel.played
        assert bool(channel.conference) == bool(keyed)


async def test_the_settings_say_how_long_a_caller_may_take(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path, input_timeout=7.5, digit_timeout=0.25) as door:
        answer = await door.ask(request("POST", "/httapi", b"session_id=1"))
    asking = checked(answer.body)[-1][0]
    assert (asking.get("input-timeout"), asking.get("digit-timeout")) == ("7500", "250")


# What is shipped for FreeSWITCH


SHIPPED = Path(__file__).parents[4] / "configs/switches/freeswitch"


def test_the_configuration_permits_what_the_door_needs_and_no_more() -> None:
    """Each permission that mod_httapi grants by default is named, and `none`, which it takes for `all`, is not."""
    (profile,) = ET.parse(SHIPPED / "autoload_configs/httapi.conf.xml").getroot().iterfind("profiles/profile")
    permissions = {one.get("name"): one.get("value") for one in profile.iterfind("permissions/permission")}
    assert {name for name, value in permissions.items() if value == "true"} == {
        "set-params",
        "execute-apps",
        "conference",
    }
    assert permissions["dial"] == "false"
    (allowed,) = profile.iterfind("permissions/permission/application-list")
    assert allowed.get("default") == "deny"
    assert [one.attrib for one in allowed] == [{"name": "set_profile_var"}]
    params = [(one.get("name"), one.get("value")) for one in profile.iterfind("params/param")]
    assert dict(params)["gateway-url"] == f"http://127.0.0.1:{Httapi().port}{httapi.PATH}"
    assert dict(params)["method"] == "POST"
    assert int(dict(params)["timeout"] or 0) > 0
    assert int(dict(params)["connect-timeout"] or 0) > 0
    assert {value for name, value in params if name == "enable-post-var"} == set(httapi.FIELDS)


def test_the_dialplan_leads_nowhere_but_through_the_door() -> None:
    actions = [one.attrib for one in ET.parse(SHIPPED / "dialplan/rollcall.xml").getroot().iter("action")]
    names = [action["application"] for action in actions]
    assert names == ["answer", "sleep", "httapi", "playback", "playback", "hangup"]


# The load, and how it opens


async def test_a_thousand_half_sent_requests_keep_nobody_waiting(door: Door) -> None:
    whole = request("POST", "/httapi", b"session_id=1")
    connections = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(1000)]
    try:
        for at, (_, writer) in enumerate(connections):
            writer.write(whole[: at % len(whole)])
        async with asyncio.timeout(2):
            assert (await Channel(door, [f"{PASSCODE}#", f"{PIN}#"]).run()).conference == "C-1001"
        reader, writer = connections[50]
        writer.write(whole[50:])
        assert checked((await read_answer(reader)).body) is not None
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def test_the_settings_open_it(live: Live, tmp_path: Path) -> None:
    async with opening(live, tmp_path) as other:
        doors = enabled(Doors(httapi=Httapi(enabled=True, port=0)), other.surroundings)
        with structlog.testing.capture_logs() as logged:
            async with opened_doors(doors):
                (told,) = logged
                answer = await Door("httapi", told["port"], other.surroundings).ask(
                    request("POST", "/httapi", b"session_id=1")
                )
    assert (told["door"], checked(answer.body)[0].tag) == ("httapi", "params")


async def test_a_port_in_use_is_told_by_its_setting(door: Door, live: Live, tmp_path: Path) -> None:
    with pytest.raises(PortError, match=rf"^doors\.httapi\.port: port {door.port} on 127.0.0.1 is in use"):
        async with opening(live, tmp_path, port=door.port):
            raise AssertionError


@pytest.mark.parametrize(
    ("keyed", "bindings", "taken"),
    [
        ("12#34", ["=~^[0-9*]*#$", "~^[0-9*]+#?$"], ("12#", "34")),
        ("12", ["=~^[0-9*]*#$", "~^[0-9*]+#?$"], ("12", "")),
        ("12", ["~^[0-9]+"], ("1", "2")),
        ("12", ["~^[0-9]+#$"], ("", "")),
    ],
)
def test_the_digit_machine_takes_what_freeswitchs_takes(
    keyed: str, bindings: list[str], taken: tuple[str, str]
) -> None:
    assert matched(keyed, bindings) == taken
