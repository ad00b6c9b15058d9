"""The FastAGI door, asked over real connections by what stands for Asterisk."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
import structlog

from daemon.doors import fastagi
from daemon.doors.opening import enabled
from daemon.doors.surroundings import Surroundings
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.throttle import NO_THROTTLE, Throttle
from loader.door_sections import AgiPrompts, Doors, FastAgi
from loader.errors import SettingsError
from loader.index import Question
from loader.keyring import Keyring
from loader.logs import exception_told
from loader.service import PortError
from tests.unit.daemon.doors.asterisk import KEYS, TOLD, USAGE, Channel, call, environment
from tests.unit.daemon.doors.test_http import Broken
from tests.unit.daemon.doors.throttles import Locking, locking_some

CALLED = {"PASSCODE": "7784321", "PIN": "004127"}
BY_NAME = ("var:PASSCODE", "var:PIN")
MIKE = {
    "result": "accepted",
    "first_name": "Mike",
    "last_name": "Doe",
    "company": "XYZ",
    "conference_id": "C-1001",
    "level": "organizer",
}


class Door:
    """The door, open on a port of its own."""

    def __init__(self, port: int, metrics: Metrics, surroundings: Surroundings) -> None:
        self.port, self.metrics, self.surroundings = port, metrics, surroundings

    async def asked(self, sent: bytes, keys: str = "", variables: dict[str, str] | None = None, **how: Any) -> Channel:
        """What has come of one `AGI()`."""
        return await call(self.port, sent, Channel(keys, variables), **how)

    def value(self, metric: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(metric, {"door": "fastagi", **labels}) or 0.0

    def dropped(self) -> dict[str, float]:
        """What has been counted as dropped, by why."""
        return {
            sample.labels["why"]: sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "rollcall_questions_dropped_total"
        }

    def decided(self) -> float:
        """How many verifications there were."""
        return self.value("rollcall_verification_seconds_count")


def no_keyring() -> Keyring:
    """The door seals nothing."""
    raise NotImplementedError


@asynccontextmanager
async def opened(
    live: Live, *, throttle: Throttle = NO_THROTTLE, drain_timeout: float = 5.0, **settings: Any
) -> AsyncIterator[Door]:
    metrics = Metrics("0")
    surroundings = Surroundings(live, metrics, no_keyring, lambda: drain_timeout, throttle)
    async with fastagi.serving(msgspec.structs.replace(FastAgi(), **{"port": 0, **settings}), surroundings) as port:
        yield Door(port, metrics, surroundings)


@pytest.fixture
async def door(live: Live) -> AsyncIterator[Door]:
    async with opened(live) as door:
        yield door


# verify


VERIFIED = [
    ("7784321", "004127", MIKE),
    ("7784321", "900001", {**MIKE, "first_name": "Petra", "level": "company"}),
    ("7784322", "", {"result": "accepted", "conference_id": "C-1002"}),
    ("7784322", "1", {"result": "accepted", "conference_id": "C-1002"}),
    ("7784321", "", {"result": "rejected", "reason": "pin_required"}),
    ("7784321", "4321", {"result": "rejected", "reason": "unknown_pin"}),
    ("7784321", "1" * 32, {"result": "rejected", "reason": "unknown_pin"}),
    ("7784321", "004127#", {"result": "rejected", "reason": "unknown_pin"}),
    ("7784321", "99", {"result": "rejected", "reason": "inactive_pin"}),
    ("778432", "004127", {"result": "rejected", "reason": "unknown_passcode"}),
    ("", "", {"result": "rejected", "reason": "unknown_passcode"}),
    ("7784321", "1" * 33, {"result": "error", "reason": "malformed"}),
    ("7" * 33, "1", {"result": "error", "reason": "malformed"}),
]


@pytest.mark.parametrize(("passcode", "pin", "verdict"), VERIFIED)
async def test_verify_sets_the_verdict(door: Door, passcode: str, pin: str, verdict: dict[str, str]) -> None:
    """The same, whether passcode and PIN are handed over or stand in variables."""
    for arguments in [(passcode, pin), BY_NAME, (passcode, "var:PIN"), ("var:PASSCODE", pin)]:
        channel = await door.asked(environment("verify", *arguments), variables={"PASSCODE": passcode, "PIN": pin})
        assert channel.verdict == verdict
        assert len(channel.commands) == 2


async def test_variables_that_are_not_set_are_empty(door: Door) -> None:
    assert (await door.asked(environment("verify", *BY_NAME))).verdict["reason"] == "unknown_passcode"
    channel = await door.asked(environment("verify", *BY_NAME), variables={"PASSCODE": "7784321"})
    assert channel.verdict["reason"] == "pin_required"


async def test_every_variable_is_set_each_time_so_that_nothing_stale_is_left(door: Door) -> None:
    channel = Channel(variables=CALLED)
    await call(door.port, environment("verify", *BY_NAME), channel)
    assert channel.is_admitted
    channel.variables["PIN"] = "1"
    await call(door.port, environment("verify", *BY_NAME), channel)
    assert channel.verdict == {"result": "rejected", "reason": "unknown_pin"}
    assert len([name for name in channel.variables if name.startswith("ROLLCALL_")]) == 9


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("7784321",),
        ("7784321", "004127", ""),
        ("var:", "var:PIN"),
        ("var:PASSCODE", "var:PIN}${SHELL(id)"),
        ("var:PASSCODE", "var:CALLERID(num)"),
        ("var:PASSCODE", 'var:PIN"'),
        ("var:PASSCODE", "var:PÏN"),
        ("var:PASSCODE", f"var:{'P' * 81}"),
    ],
)
async def test_verify_wants_two_arguments_or_names(door: Door, arguments: tuple[str, ...]) -> None:
    """A name that could be more than a name is not sent."""
    channel = await door.asked(environment("verify", *arguments), variables=CALLED)
    assert channel.verdict == {"result": "error", "reason": "malformed"}
    assert len(channel.commands) == 1
    assert door.dropped() == {"malformed": 1}
    assert door.decided() == 0


@pytest.mark.parametrize("script", ["verify", "/verify", "verify/", "verify?x=1", "verify?"])
async def test_the_script_is_the_path_of_the_address(door: Door, script: str) -> None:
    assert (await door.asked(environment(script, "7784321", "004127"))).is_admitted


@pytest.mark.parametrize("script", [None, "", "Verify", "verify/1", "?verify", "verify.agi", "..", "\udcff"])
async def test_an_unknown_script_is_told_so(door: Door, script: str | None) -> None:
    channel = await door.asked(environment(script, "7784321", "004127"))
    assert channel.verdict == {"result": "error", "reason": "unknown_script"}
    assert door.dropped() == {"unknown_script": 1}


async def test_an_error_takes_back_what_admitted(door: Door) -> None:
    channel = Channel(variables={"ROLLCALL_RESULT": "accepted", "ROLLCALL_CONFERENCE_ID": "C-1001"})
    await call(door.port, environment("verifi"), channel)
    assert channel.verdict == {"result": "error", "reason": "unknown_script"}


@pytest.mark.parametrize(
    ("callerid", "caller"),
    [("+15550100", "+15550100"), ("unknown", None), ("", None), ("1" * 200, "1" * 128), ("\udcff", "\ufffd")],
)
@pytest.mark.parametrize("script", ["verify", "ivr"])
async def test_call_and_caller_are_those_that_asterisk_tells(
    live: Live, script: str, callerid: str, caller: str | None
) -> None:
    asked = Locking()
    async with opened(live, throttle=asked) as door:
        sent = environment(script, *(("7784321", "1") if script == "verify" else ()), callerid=callerid)
        await door.asked(sent, keys="7784321#1#!")
    assert asked.questions[-1] == Question("7784321", "1", TOLD["uniqueid"], caller)


@pytest.mark.parametrize(("caller", "seconds"), [("+15550100", "60"), ("+15550101", "120")])
async def test_who_is_locked_out_is_told_for_how_long(live: Live, caller: str, seconds: str) -> None:
    async with opened(live, throttle=locking_some()) as door:
        locked = {"result": "rejected", "reason": "locked", "retry_after": seconds}
        verified = await door.asked(environment("verify", *BY_NAME, callerid=caller), variables=CALLED)
        assert verified.verdict == locked
        dialogue = await door.asked(environment("ivr", callerid=caller), keys="7784321#004127#")
        assert dialogue.verdict == locked
        assert door.value("rollcall_verifications_total", result="locked") == 2


async def test_until_the_lists_are_loaded_nobody_is_let_in() -> None:
    async with opened(Live()) as door:
        unavailable = {"result": "error", "reason": "unavailable"}
        assert (await door.asked(environment("verify", *BY_NAME), variables=CALLED)).verdict == unavailable
        channel = await door.asked(environment("ivr"), keys="7784321#004127#")
        assert channel.verdict == unavailable
        assert channel.heard == ["conf-getconfno", "vm-nobodyavail", "vm-goodbye"]
        assert door.dropped() == {"not_loaded": 2}


@pytest.mark.parametrize(("script", "arguments"), [("verify", BY_NAME), ("ivr", ())])
async def test_what_breaks_inside_lets_nobody_in(
    door: Door, live: Live, script: str, arguments: tuple[str, ...]
) -> None:
    """The log tells what broke and where, and nothing of what was keyed."""
    live.index = Broken()  # type: ignore[assignment]
    with structlog.testing.capture_logs() as logged:
        channel = await door.asked(environment(script, *arguments), "7784321#004127#", CALLED)
    assert channel.verdict == {"result": "error", "reason": "unavailable"}
    assert door.dropped() == {"failed": 1}
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("verification_failed", "error")
    error = line.pop("exc_info")
    told = exception_told((type(error), error, error.__traceback__))
    assert "fastagi.py" in told
    for secret in CALLED.values():
        assert secret not in told
        assert secret not in str(line)


async def test_a_fault_of_the_door_itself_closes_the_connection(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LookupError(CALLED["PIN"])

    monkeypatch.setattr(fastagi, "verify", broken)
    with structlog.testing.capture_logs() as logged:
        assert (await door.asked(environment("verify", "7784321", "004127"))).commands == []
    assert [line["event"] for line in logged] == ["script_failed"]
    assert door.dropped() == {"failed": 1}


# What the caller's name may forge


FORGED = "".join(f"agi_{key}: {TOLD[key]}\n" for key in KEYS[KEYS.index("calleridname") + 1 :])


@pytest.mark.parametrize(
    "name",
    [
        "Mike\nagi_arg_1: 7784321\nagi_arg_2: 004127",
        "Mike\nagi_uniqueid: 1.1",
        "Mike\n",
        "Mike\n\n",
        f"Mike\n{FORGED}",
        f"Mike\n{FORGED}agi_arg_1: 7784321\nagi_arg_2: 004127\n",
        f"Mike\n{FORGED}agi_arg_1: 7784321\nagi_arg_2: 004127\n\n",
        f"Mike\n{FORGED}agi_arg_1: 7784321\nagi_arg_2: 004127\n\n200 result=1 (7784321004127)\n200 result=1",
        f"Mike\n{FORGED}agi_arg_1: 7784321\nagi_arg_2: 004127\n\n200 result=1 ()\n200 result=1",
    ],
)
@pytest.mark.parametrize("pieces", [(), range(0, 2000, 7)])
async def test_a_line_end_in_a_callers_name_forges_nothing(door: Door, name: str, pieces: Any) -> None:
    """Not even with a PIN that is right: the dialplan has not asked for it."""
    sent = environment("verify", "7784321", "1", calleridname=name)
    channel = await door.asked(sent, variables=CALLED, pieces=pieces)
    assert channel.verdict == {}
    assert set(door.dropped()) <= {"garbage", "malformed", "hung_up"}
    assert door.decided() == 0


async def test_a_forged_name_is_noticed_when_the_rest_comes_late(door: Door) -> None:
    """The arguments are not believed before a reply has come that nobody could foresee."""
    sent = environment("verify", "x", calleridname=f"Mike\n{FORGED}agi_arg_1: 7784321\nagi_arg_2: 004127\n")
    early = sent.index(b"\n\n") + 2

    def hear(_number: int, _reply: str) -> bytes:
        return sent[early:]

    channel = await door.asked(sent[:early], hear=hear)
    assert len(channel.commands) == 1
    assert channel.commands[0].startswith("GET FULL VARIABLE")
    assert door.dropped() == {"garbage": 1}
    assert door.decided() == 0


async def test_a_reply_before_its_command_is_none(door: Door) -> None:
    sent = environment("verify", "7784321", "004127")
    channel = await door.asked(sent, hear=lambda _, reply: reply.encode() * 2)
    assert channel.verdict == {}
    assert door.dropped() == {"garbage": 1}


# Garbage


def without(key: str) -> bytes:
    return environment("verify", *BY_NAME, **{key: None})


GARBAGE = [
    b"\n\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\n\n",
    b"\x16\x03\x01\x02\x00\x01\n\n",
    b"\0" * 20_000,
    b"agi_network: yes\n" * 2000,
    b"agi_network: yes\n\n",
    environment("verify", *BY_NAME).replace(b"\n", b"\r\n") + b"\n\n",
    environment("verify", *BY_NAME).replace(b": ", b":"),
    environment("verify", *BY_NAME, network="no"),
    environment("verify", *BY_NAME, uniqueid=""),
    environment("verify", *BY_NAME, calleridname="x" * 20_000),
    environment("verify", *BY_NAME).replace(b"agi_arg_2", b"agi_arg_3"),
    environment("verify", *BY_NAME).replace(b"agi_arg_2", b"agi_arg_1"),
    environment("verify", *BY_NAME).replace(b"agi_arg_1", b"agi_arg_01"),
    environment("verify", *BY_NAME)[:-1] + b"agi_more: 1\n\n",
    *(without(key) for key in KEYS if key != "network_script"),
    *(environment("verify", *BY_NAME, **{key: f"x\nagi_{key}: y"}) for key in KEYS),
]


@pytest.mark.parametrize("sent", GARBAGE)
async def test_what_is_no_environment_is_closed_without_a_command(door: Door, sent: bytes) -> None:
    channel = await door.asked(sent, variables=CALLED)
    assert channel.commands == []
    assert door.dropped() == {"garbage": 1}


@pytest.mark.parametrize("after", ["network", "request", "calleridname", "accountcode"])
async def test_what_a_later_asterisk_may_tell_besides_is_passed_over(door: Door, after: str) -> None:
    sent = environment("verify", *BY_NAME, **{after: f"{TOLD[after]}\nagi_novelty: 1\nagi_other_one: 2"})
    assert (await door.asked(sent, variables=CALLED)).is_admitted


NO_REPLIES = [
    b"\n",
    b"\xff\n",
    b"hello\n",
    b"200\n",
    b"200 result=1 (" + b"x" * 5000 + b")\n",
    b"x" * 5000,
    b"200 result=1 (a\nb)\n",
    b"100 Trying\n",
    b"510 Invalid or unknown command\n",
    b"520 Invalid command syntax.  Proper usage not available.\n",
    USAGE.encode(),
    b"520-" + b"x\n" * 500,
    b"agi_request: agi://127.0.0.1\n",
]
NO_VALUES = [
    b"200 result=\n",
    b"200 result=0\n",
    b"200 result=1\n",
    b"200 result=1 ()\n",
    b"200 result=1 (7784321 004127)\n",
]


@pytest.mark.parametrize("reply", [*NO_REPLIES, *NO_VALUES])
async def test_values_that_do_not_come_are_not_decided_over(door: Door, reply: bytes) -> None:
    channel = await door.asked(environment("verify", *BY_NAME), variables=CALLED, hear=lambda *_: reply)
    assert len(channel.commands) == 1
    assert channel.verdict == {}
    assert door.dropped() == {"garbage": 1}
    assert door.decided() == 0


@pytest.mark.parametrize("reply", NO_REPLIES)
@pytest.mark.parametrize("script", ["ivr", "verify"])
async def test_a_reply_that_is_none_ends_it(door: Door, script: str, reply: bytes) -> None:
    """At whatever command, and also where it comes too late to matter."""
    sent = environment(script, *BY_NAME[: 2 if script == "verify" else 0])
    whole = await door.asked(sent, keys=KEYED, variables=CALLED)
    for number in range(len(whole.commands)):
        channel = await door.asked(
            sent,
            keys=KEYED,
            variables=CALLED,
            hear=lambda at, told, number=number: reply if at == number else told.encode(),
        )
        assert len(channel.commands) == number + 1
        assert channel.is_admitted == (number + 1 == len(whole.commands))
    assert door.dropped() == {"garbage": len(whole.commands)}


# The end of a call


async def test_verify_ends_with_a_hangup_between_replies(door: Door) -> None:
    for number in (0, 1):
        channel = await door.asked(
            environment("verify", *BY_NAME),
            variables=CALLED,
            hear=lambda at, reply, number=number: b"HANGUP\n" + reply.encode() if at == number else reply.encode(),
        )
        assert len(channel.commands) == number + 1
    assert door.dropped() == {"hung_up": 2}
    assert door.decided() == 1


async def test_a_connection_may_be_cut_at_any_byte_of_the_environment(door: Door) -> None:
    sent = environment("verify", *BY_NAME)
    for end in range(len(sent)):
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(sent[:end])
        writer.close()
        await writer.wait_closed()
    assert (await door.asked(sent, variables=CALLED)).is_admitted
    while door.dropped()["hung_up"] < len(sent):
        await asyncio.sleep(0)
    assert set(door.dropped()) == {"hung_up"}
    assert door.decided() == 1


KEYED = "7784321#4321#^0 ^004127#"
"""With wrong PINs, and with keys while that is said."""


async def test_a_caller_may_hang_up_at_any_step_of_a_dialogue(door: Door) -> None:
    """Asterisk tells so in several ways. Nobody has been let in, and nothing from before is left."""
    whole = await door.asked(environment("ivr"), keys=KEYED)
    assert whole.is_admitted
    ways: list[Callable[[str], bytes | None]] = [
        lambda _: None,
        lambda _: b"HANGUP\n",
        lambda reply: reply.encode() + b"HANGUP\n",
        lambda _: b"200 result=-1\nHANGUP\n",
        lambda _: b"511 Command Not Permitted on a dead channel or intercept routine\n",
    ]
    for way in ways:
        for number in range(len(whole.commands) - 1):
            channel = await door.asked(
                environment("ivr"),
                keys=KEYED,
                variables={"ROLLCALL_RESULT": "accepted"},
                hear=lambda at, reply, number=number, way=way: way(reply) if at == number else reply.encode(),
            )
            assert len(channel.commands) == number + 1
            assert channel.verdict == {"result": "error", "reason": "unfinished"}
    while sum(door.dropped().values()) < len(ways) * (len(whole.commands) - 1):
        await asyncio.sleep(0)
    assert set(door.dropped()) == {"hung_up"}


async def test_a_caller_who_is_gone_without_a_hangup_is_noticed(door: Door) -> None:
    """`AGISIGHUP=no` leaves the line out: then only the results tell it."""
    for replies in ([b"200 result=-1\n"] * 2, [b"200 result=-1\n", b"511 Command Not Permitted on a dead channel\n"]):
        channel = await door.asked(
            environment("ivr"), hear=lambda at, reply, replies=replies: replies[at - 1] if at else reply.encode()
        )
        assert len(channel.commands) == 3
        assert channel.verdict == {"result": "error", "reason": "unfinished"}
    assert door.dropped() == {"hung_up": 2}


# ivr


ACCEPTED = ["conf-getconfno", "conf-getpin"]
DIALOGUES = [
    ("7784321#004127#", ACCEPTED, MIKE),
    ("7784322#", ["conf-getconfno"], {"result": "accepted", "conference_id": "C-1002"}),
    # Nothing is lost by who keys ahead.
    ("7784321#004127", ACCEPTED, MIKE),
    ("7784321 004127 ", ACCEPTED, MIKE),
    # A `*` begins anew, however often.
    ("12*7784321#99*1*004127#", ACCEPTED, MIKE),
    ("7784321#1234567890*004127#", ACCEPTED, MIKE),
    ("7784321#12345678901*004127#", [*ACCEPTED, "conf-invalidpin", "conf-getpin"], MIKE),
    ("7784321#*004127#", ACCEPTED, MIKE),
    # Nothing keyed is no wrong try.
    ("#7784321##004127#", ["conf-getconfno", "conf-getconfno", "conf-getpin", "conf-getpin"], MIKE),
    (" 7784321# 004127#", ["conf-getconfno", "conf-getconfno", "conf-getpin", "conf-getpin"], MIKE),
    ("7784321#*#004127#", [*ACCEPTED, "conf-getpin"], MIKE),
    ("###", ["conf-getconfno"] * 3 + ["vm-goodbye"], {"result": "rejected", "reason": "nothing_keyed"}),
    ("", ["conf-getconfno"] * 3 + ["vm-goodbye"], {"result": "rejected", "reason": "nothing_keyed"}),
    (
        "7784321#",
        ["conf-getconfno"] + ["conf-getpin"] * 3 + ["vm-goodbye"],
        {"result": "rejected", "reason": "nothing_keyed"},
    ),
    # Wrong ones: three tries.
    ("1#7784321#004127#", ["conf-getconfno", "conf-invalid", *ACCEPTED], MIKE),
    (
        "1#2#3#",
        ["conf-getconfno", *["conf-invalid", "conf-getconfno"] * 2, "conf-invalid", "vm-goodbye"],
        {"result": "rejected", "reason": "unknown_passcode"},
    ),
    (
        "7784321#1#2#99#",
        [*ACCEPTED, *["conf-invalidpin", "conf-getpin"] * 2, "conf-invalidpin", "vm-goodbye"],
        {"result": "rejected", "reason": "inactive_pin"},
    ),
    # What is keyed while an error is told is the beginning of the next try, and needs no prompt.
    ("7784321#1#^004127#", [*ACCEPTED, "conf-invalidpin"], MIKE),
    ("7784321#1#^*004127#", [*ACCEPTED, "conf-invalidpin"], MIKE),
    ("7784321#1#^1*004127#", [*ACCEPTED, "conf-invalidpin"], MIKE),
    ("1#^7784321#004127#", ["conf-getconfno", "conf-invalid", "conf-getpin"], MIKE),
    ("7784321#1#^0 ^004127#", [*ACCEPTED, *["conf-invalidpin"] * 2], MIKE),
    # A `#` that is left of an entry without room for it is no entry.
    ("7784321#12345678901^#004127#", [*ACCEPTED, "conf-invalidpin", "conf-getpin"], MIKE),
    (f"{'1' * 33}^#7784321#004127#", ["conf-getconfno", "conf-invalid", *ACCEPTED], MIKE),
]


@pytest.mark.parametrize(("keys", "heard", "verdict"), DIALOGUES)
async def test_a_dialogue_asks_until_it_knows(door: Door, keys: str, heard: list[str], verdict: dict[str, str]) -> None:
    channel = await door.asked(environment("ivr"), keys=keys, variables={"ROLLCALL_RESULT": "accepted"})
    assert (channel.heard, channel.verdict) == (heard, verdict)
    assert door.dropped() == {}


async def test_a_hash_that_is_left_over_is_passed_over_where_nothing_is_said_in_between(live: Live) -> None:
    """Once: the next one is the caller's, and so is the first after an entry with room for it."""
    async with opened(live, prompts=AgiPrompts(wrong_pin="")) as door:
        channel = await door.asked(environment("ivr"), keys="7784321#12345678901#004127#")
        assert (channel.heard, channel.verdict) == ([*ACCEPTED, "conf-getpin", "conf-getpin"], MIKE)
        channel = await door.asked(environment("ivr"), keys="7784321#12345678901###!")
        assert channel.heard == [*ACCEPTED, *["conf-getpin"] * 4]
        channel = await door.asked(environment("ivr"), keys="7784321#12345678901 ##004127#")
        assert channel.heard == [*ACCEPTED, *["conf-getpin"] * 3, "vm-goodbye"]


async def test_a_prompt_without_a_sound_is_silence(live: Live) -> None:
    async with opened(live, prompts=AgiPrompts(passcode="", wrong_pin="", goodbye="")) as door:
        channel = await door.asked(environment("ivr"), keys="7784321#1#2#3#")
        assert channel.heard == ["conf-getpin"] * 3
        assert channel.verdict["reason"] == "unknown_pin"


async def test_a_sound_that_is_not_there_is_silence_and_is_logged_once(live: Live) -> None:
    """Asterisk answers as if the caller had hung up; so it is asked once more, without it."""
    prompts = AgiPrompts(passcode="missing", pin="missing", wrong_pin="missing")
    async with opened(live, prompts=prompts) as door:
        with structlog.testing.capture_logs() as logged:
            channel = await door.asked(environment("ivr"), keys="7784321#1#004127#")
    assert channel.verdict == MIKE
    assert [line["setting"].rpartition(".")[2] for line in logged] == ["passcode", "pin", "wrong_pin"]


@pytest.mark.parametrize("sound", ['x" 1 1', "x\\", "x\ny", "/srv/sounds/my sound"])
async def test_no_sounds_name_becomes_a_command(live: Live, sound: str) -> None:
    async with opened(live, prompts=AgiPrompts(passcode=sound, wrong_passcode=sound)) as door:
        channel = await door.asked(environment("ivr"), keys="1#7784321#004127#")
        assert channel.verdict == MIKE
        assert channel.heard[:3] == [sound.replace("\n", " ")] * 3


async def test_times_and_digits_are_those_of_the_settings(live: Live) -> None:
    async with opened(live, digit_timeout=2.5) as door:
        channel = await door.asked(environment("ivr"), keys="7784321#1#^0!")
    assert [line for line in channel.commands if "DATA" in line or "STREAM" in line] == [
        'GET DATA "conf-getconfno" 2500 33',
        'GET DATA "conf-getpin" 2500 11',
        'STREAM FILE "conf-invalidpin" "0123456789*"',
        'GET DATA "" 2500 10',
    ]


# The roll


async def test_joined_and_left_are_told_to_the_roll(door: Door) -> None:
    for script in ("joined", "left", "left"):
        channel = await door.asked(environment(script))
        assert channel.commands == []
    assert door.value("rollcall_call_events_total", event="joined") == 1
    assert door.value("rollcall_call_events_total", event="left") == 2
    assert door.dropped() == {}


# Limits


async def test_only_the_networks_of_the_settings_are_answered(live: Live) -> None:
    for allow, is_answered in [
        ("127.0.0.0/8", True),
        ("10.0.0.0/8 127.0.0.1 ::1", True),
        ("10.0.0.0/8 ::1", False),
        ("", False),
    ]:
        async with opened(live, allow=allow) as door:
            channel = await door.asked(environment("verify", *BY_NAME), variables=CALLED)
            assert channel.is_admitted == is_answered
            assert door.dropped() == ({} if is_answered else {"not_allowed": 1})


@pytest.mark.parametrize("allow", ["x", "127.0.0.1/8", "127.0.0.1,::1", "10.0.0.0/33"])
async def test_networks_that_are_none_are_told_by_their_setting(live: Live, allow: str) -> None:
    with pytest.raises(SettingsError, match=r"doors\.fastagi\.allow"):
        async with opened(live, allow=allow):
            pass


async def connect(door: Door, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(sent)
    return reader, writer


async def test_more_connections_than_may_be_are_closed_at_once(live: Live) -> None:
    async with opened(live, max_connections=3) as door:
        held = [await connect(door, environment("ivr")) for _ in range(3)]
        for reader, _ in held:
            await reader.readline()
        assert (await door.asked(environment("verify", *BY_NAME), variables=CALLED)).commands == []
        assert door.dropped() == {"too_many": 1}
        held[0][1].transport.abort()
        while door.dropped().get("hung_up") != 1:
            await asyncio.sleep(0)
        assert (await door.asked(environment("verify", *BY_NAME), variables=CALLED)).is_admitted
        for _, writer in held:
            writer.transport.abort()


async def test_a_thousand_half_open_connections_hold_nobody_up(live: Live) -> None:
    """And each of them is closed when its time is over."""
    async with opened(live, reply_timeout=2.0) as door:
        held = [await connect(door, environment("verify", *BY_NAME)[: at % 300]) for at in range(1000)]
        begun = asyncio.get_running_loop().time()
        for _ in range(10):
            assert (await door.asked(environment("verify", *BY_NAME), variables=CALLED)).is_admitted
        assert asyncio.get_running_loop().time() - begun < 1.0
        for reader, writer in held:
            assert await reader.read() == b""
            writer.transport.abort()
        assert door.dropped() == {"timeout": 1000}


async def closed(reader: asyncio.StreamReader) -> bytes:
    """All that came until the daemon closed."""
    async with asyncio.timeout(20):
        return await reader.read()


async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a byte every now and then until the daemon closes."""
    over = asyncio.create_task(reader.read())
    async with asyncio.timeout(20):
        while not over.done():
            writer.write(b"a")
            await asyncio.wait([over], timeout=0.01)
    # A byte that came too late is answered with a reset.
    assert isinstance(over.exception(), ConnectionError | None)


async def test_an_environment_that_dribbles_has_no_more_time(live: Live) -> None:
    async with opened(live, reply_timeout=0.2) as door:
        reader, writer = await connect(door)
        await dribble(reader, writer)
        assert door.dropped() == {"timeout": 1}
        writer.transport.abort()


@pytest.mark.parametrize("script", ["verify", "ivr", "nothing"])
async def test_a_reply_that_does_not_come_ends_it(live: Live, script: str) -> None:
    async with opened(live, reply_timeout=0.05) as door:
        reader, writer = await connect(door, environment(script, *BY_NAME))
        assert (await closed(reader)).count(b"\n") == 1
        assert door.dropped().pop("timeout") == 1
        writer.transport.abort()


async def test_a_reply_that_dribbles_has_no_more_time(live: Live) -> None:
    async with opened(live, reply_timeout=0.2) as door:
        reader, writer = await connect(door, environment("verify", *BY_NAME))
        await reader.readline()
        writer.write(b"200 result=1 (")
        await dribble(reader, writer)
        assert door.dropped() == {"timeout": 1}
        writer.transport.abort()


async def test_a_caller_has_more_time_than_asterisk(live: Live) -> None:
    """For digits: their own limit, and a prompt's length."""
    async with opened(live, reply_timeout=0.05, digit_timeout=0.01, prompts=AgiPrompts(passcode="")) as door:
        reader, writer = await connect(door, environment("ivr"))
        loop = asyncio.get_running_loop()
        await reader.readline()
        writer.write(b"200 result=1\n")
        begun = loop.time()
        assert b"GET DATA" in await closed(reader)
        assert 0.05 + 34 * 0.01 <= loop.time() - begun < 5
        assert door.dropped() == {"timeout": 1}
        writer.transport.abort()


async def test_a_dialogue_is_over_at_its_deadline(live: Live) -> None:
    async with opened(live, deadline=0.1) as door:
        reader, writer = await connect(door, environment("ivr"))
        await reader.readline()
        writer.write(b"200 result=1\n")
        assert b"GET DATA" in await closed(reader)
        assert door.dropped() == {"deadline": 1}
        writer.transport.abort()


async def test_a_dialogue_that_goes_on_for_ever_is_over_at_its_deadline(live: Live) -> None:
    async with opened(live, deadline=0.3) as door:
        channel = Channel()

        def hear(number: int, reply: str) -> bytes:
            return b"200 result=%b\n" % (b"*" * int(channel.commands[-1].split()[-1])) if number else reply.encode()

        await call(door.port, environment("ivr"), channel, hear=hear)
        assert len(channel.commands) > 2
        assert door.dropped() == {"deadline": 1}


async def test_answers_are_not_held_back(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP_NODELAY, or a command would wait for the other side to acknowledge the last one."""
    seen: list[int] = []
    made = fastagi._Connection.connection_made

    def connection_made(self: Any, transport: asyncio.Transport) -> None:
        seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        made(self, transport)

    monkeypatch.setattr(fastagi._Connection, "connection_made", connection_made)
    await door.asked(environment("verify", *BY_NAME), variables=CALLED)
    assert seen == [1]


# The start and the end


async def test_a_port_in_use_is_told_by_its_setting(live: Live, door: Door) -> None:
    with pytest.raises(PortError, match=f"doors.fastagi.port: port {door.port} on 127.0.0.1 is in use"):
        async with opened(live, port=door.port):
            pass


async def test_the_settings_open_it(live: Live) -> None:
    surroundings = Surroundings(live, Metrics("0"), no_keyring, lambda: 1.0)
    assert list(enabled(Doors(), surroundings)) == []
    ((name, open_door),) = enabled(Doors(fastagi=FastAgi(enabled=True, port=0)), surroundings)
    assert name == "fastagi"
    async with open_door as port:
        assert (await call(port, environment("verify", *BY_NAME), Channel(variables=CALLED))).is_admitted


async def test_at_the_end_what_is_under_way_is_finished(live: Live) -> None:
    async with opened(live) as door:
        stack = door
        reader, writer = await connect(door, environment("verify", *BY_NAME))
        dialogue = await connect(door, environment("ivr"))
        fetch = (await reader.readline()).decode()
        await dialogue[0].readline()
        dialogue[1].write(b"200 result=1\n")
        await dialogue[0].readline()

        async def finish() -> None:
            # Once nobody is let in any more.
            while True:
                try:
                    _, other = await connect(stack)
                except OSError:
                    break
                other.transport.abort()
            channel = Channel(variables=CALLED)
            writer.write(channel.do(fetch[:-1]).encode())
            channel.do((await reader.readline()).decode()[:-1])
            writer.write(b"200 result=1\n")
            assert channel.verdict == MIKE
            dialogue[1].write(b"200 result=7784322\n")
            assert (await dialogue[0].readline()).endswith(b',accepted"\n')
            dialogue[1].write(b"200 result=1\n")

        task = asyncio.create_task(finish())
    await task
    for one in (writer, dialogue[1]):
        one.transport.abort()
    assert "stopped" not in door.dropped()


async def test_at_the_end_a_dialogue_is_closed_when_its_time_is_over(live: Live) -> None:
    async with opened(live, drain_timeout=0.05) as door:
        reader, writer = await connect(door, environment("ivr"))
        await reader.readline()
    assert await closed(reader) == b""
    assert door.dropped() == {"stopped": 1}
    writer.transport.abort()


async def test_every_verification_is_counted(door: Door) -> None:
    ask = partial(door.asked, environment("verify", *BY_NAME))
    for pin in ("004127", "004127", "1"):
        await ask(variables={**CALLED, "PIN": pin})
    assert door.value("rollcall_verifications_total", result="accepted") == 2
    assert door.value("rollcall_verifications_total", result="unknown_pin") == 1
    assert door.decided() == 3
