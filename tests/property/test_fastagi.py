"""FastAGI for any bytes: nothing but the door's own errors, always an end, and nobody let in without a decision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from daemon.doors import fastagi
from daemon.doors.agi_protocol import (
    MAX_COMMAND,
    Environment,
    NotAgi,
    Replies,
    Reply,
    assign,
    get_data,
    read_environment,
    stream_file,
)
from daemon.doors.agi_scripts import Call, HungUp, Verdict, ivr, verdict_of
from daemon.doors.surroundings import Surroundings
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.verify import Verification
from loader.door_sections import FastAgi
from loader.index import Decision, Reason
from loader.model import Conference, Level, Participant, Passcode, Revision
from tests.unit.daemon.doors.asterisk import USAGE, Channel, HangUp, environment, parted, words
from tests.unit.daemon.doors.test_fastagi import BY_NAME, CALLED, no_keyring

ANYTHING = st.text(st.characters(codec=None), max_size=600) | st.text('"\\,()[]{}$|\n\r\t ', max_size=600)
CONFERENCE = Conference("C-1001", "Weekly call", Passcode("7784321"), "alicia", True, ())


def shown(text: str) -> str:
    """A text as it is to arrive, if there is room for it."""
    return "".join(
        " " if ord(one) < 32 or 0x7F <= ord(one) < 0xA0 or one in "\u2028\u2029" or "\ud800" <= one <= "\udfff" else one
        for one in text
    )


@given(first=ANYTHING, last=ANYTHING, company=ANYTHING)
@example(first='x" 1\nSET VARIABLE ROLLCALL_RESULT accepted', last="a,b", company="\\")
@example(first='"' * 200, last="😀" * 200, company="\\" * 200)
@example(first="😀" * 600, last="é" * 600, company="会" * 600)
def test_no_name_becomes_a_command_or_another_variable(first: str, last: str, company: str) -> None:
    """Asterisk reads back what was to be said: all of it, or as much as there is room for."""
    who = Participant(first, last, company, "", "", "", "", "")
    line = assign("A,B,C,D,E,F,G,H,Z", verdict_of(Decision(None, CONFERENCE, who, Level.COMPANY, Revision(1))))
    assert len(line) <= MAX_COMMAND
    assert line.endswith(b"\n")
    assert not set(line[:-1].decode()) & {"\n", "\r", "\0"}
    command, variable, name, value = words(line.decode()[:-1])
    assert (command, variable, name) == ("SET", "VARIABLE", "ARRAY(A,B,C,D,E,F,G,H,Z)")
    reason, *names, conference, level, retry_after, attempts_left, result = parted(value)
    assert (reason, conference, level, retry_after, attempts_left) == ("", "C-1001", "company", "", "")
    assert result == "accepted"
    for arrived, given_ in zip(names, (first, last, company), strict=True):
        assert shown(given_).startswith(arrived)
        if len(given_) <= 60:
            assert shown(given_) == arrived


@given(sound=ANYTHING.map(lambda text: text[:200]))
def test_no_sounds_name_becomes_a_command(sound: str) -> None:
    for line in (get_data(sound, seconds=5, digits=11), stream_file(sound, "1")):
        assert line.count(b"\n") == 1
        assert len(line) <= MAX_COMMAND
        assert words(line.decode()[:-1])[2] == shown(sound)


LINES = st.sampled_from(environment("verify", *BY_NAME).splitlines(keepends=True)) | st.binary(max_size=30)


@given(block=st.binary(max_size=200) | st.lists(LINES, max_size=40).map(b"".join))
def test_any_bytes_are_an_environment_or_not(block: bytes) -> None:
    try:
        read = read_environment(block)
    except NotAgi:
        return
    assert isinstance(read, Environment)
    assert read.call_id


@given(st.data())
def test_an_environment_in_another_order_or_with_more_of_a_line_is_none(data: st.DataObject) -> None:
    lines = environment("verify", *BY_NAME)[:-1].splitlines(keepends=True)
    other = data.draw(st.permutations(lines)) if data.draw(st.booleans()) else list(lines)
    if other == lines:
        other.insert(data.draw(st.integers(0, len(lines))), data.draw(st.sampled_from(lines)))
    try:
        read_environment(b"".join(other))
    except NotAgi:
        return
    raise AssertionError(other)


REPLIES = st.sampled_from(
    [
        b"200 result=1\n",
        b"200 result=0\n",
        b"200 result=-1\n",
        b"200 result=\n",
        b"200 result= (timeout)\n",
        b"200 result=7784321\n",
        b"200 result=7784322\n",
        b"200 result=004127\n",
        b"200 result=12 (timeout)\n",
        b"200 result=*#*\n",
        b"200 result=48 endpos=8000\n",
        b"200 result=-1 endpos=0\n",
        b"200 result=1 (7784321)\n",
        b"HANGUP\n",
        b"510 Invalid or unknown command\n",
        b"511 Command Not Permitted on a dead channel or intercept routine\n",
        USAGE.encode(),
        USAGE.encode()[:100],
    ]
)


@given(st.lists(REPLIES | st.binary(max_size=20), max_size=10).map(b"".join))
def test_any_lines_are_replies_or_not(stream: bytes) -> None:
    replies = Replies()
    for line in stream.split(b"\n"):
        try:
            reply = replies.read(line)
        except NotAgi:
            return
        assert reply is None or reply.code in (200, *range(500, 600))


TOLD = st.builds(
    Reply,
    st.sampled_from([200] * 12 + [510, 511, 520]),
    st.text("0123456789*#", max_size=12) | st.sampled_from(["-1", "", "48", "49", "42", "35", "7784321"]),
    st.sampled_from([None, None, "timeout", "x"]),
)


@settings(max_examples=300)
@given(replies=st.lists(TOLD, min_size=1, max_size=60), decisions=st.lists(st.sampled_from([*Reason, None, "down"])))
def test_a_dialogue_lets_in_whom_the_last_decision_accepted_and_nobody_else(
    replies: list[Reply], decisions: list[Any]
) -> None:
    """Whatever Asterisk answers; and it comes to an end by itself unless the caller begins anew for ever."""
    made: list[Any] = []

    def decide(_passcode: str, _pin: str) -> Verification | None:
        made.append(decisions[len(made)] if len(made) < len(decisions) else Reason.UNKNOWN_PIN)
        return None if made[-1] == "down" else Verification("1", Decision(made[-1], CONFERENCE))

    script = ivr(Call(FastAgi(), decide, lambda _: None, lambda _: None))
    line = next(script).line
    admitted = False
    try:
        for reply in replies:
            admitted = line.endswith(b',accepted"\n')
            assert not admitted or made[-1] is None
            line = script.send(reply).line
            assert line.count(b"\n") == 1
            assert not admitted, "nothing follows once a caller is let in"
    except (StopIteration, HungUp, NotAgi):
        pass
    assert len([one for one in made if one not in (None, Reason.PIN_REQUIRED)]) <= 6


class Wire(asyncio.Transport):
    """What the door writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1)}.get(name, default)

    def write(self, data: Any) -> None:
        assert not self.is_closed
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.is_closed = True


async def spoken(live: Live, segments: list[bytes], answers: Callable[[bytes], bytes]) -> tuple[Wire, dict[str, float]]:
    """One connection on which these segments come, each followed by the answers to what it brought about."""
    metrics = Metrics("0")
    door = fastagi.FastAgiDoor(
        FastAgi(), Surroundings(live, metrics, no_keyring, lambda: 0.0), asyncio.get_running_loop()
    )
    connection, wire = fastagi._Connection(door, asyncio.get_running_loop()), Wire()
    connection.connection_made(wire)
    answered = 0
    for segment in segments:
        if not wire.is_closed:
            connection.data_received(segment)
            # What is said leaves at the end of the turn.
            await asyncio.sleep(0)
        while not wire.is_closed and answered < len(wire.written):
            answered += 1
            if answer := answers(wire.written[-1]):
                connection.data_received(answer)
                await asyncio.sleep(0)
    if not wire.is_closed:
        connection.connection_lost(None)
    assert wire.is_closed
    counted = {
        sample.labels["result"]: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "rollcall_verifications_total"
    }
    return wire, counted


STREAMS = st.tuples(
    st.sampled_from([environment("verify", *BY_NAME), environment("verify", "7784321", "004127"), environment("ivr")])
    | st.lists(LINES, max_size=30).map(b"".join),
    st.lists(REPLIES | st.binary(max_size=8), max_size=6).map(b"".join),
).map(b"".join)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=STREAMS, cuts=st.lists(st.integers(0, 900), max_size=5), keys=st.text("0123456789*# ^", max_size=30))
@example(stream=environment("ivr"), cuts=[5], keys="7784321#004127#")
@example(stream=environment("verify", *BY_NAME), cuts=[300], keys="")
def test_any_bytes_in_any_segments_let_nobody_in_whom_nobody_accepted(
    live: Live, stream: bytes, cuts: list[int], keys: str
) -> None:
    """It is closed, or waits within its time; nothing breaks; a connection that is lost at the end changes nothing."""
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    channel = Channel(keys, CALLED)

    def answers(line: bytes) -> bytes:
        try:
            return channel.do(line.decode()[:-1]).encode()
        except HangUp:
            return b""

    with structlog.testing.capture_logs() as logged:
        wire, counted = asyncio.run(spoken(live, [stream[start:end] for start, end in pairwise(ends)], answers))
    assert not [line for line in logged if line["log_level"] == "error"]
    admitting = [line for line in wire.written if line.endswith(b',accepted"\n')]
    assert len(admitting) <= counted["accepted"]
    assert not admitting or admitting == wire.written[-1:]
    for line in wire.written:
        assert line.count(b"\n") == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 700), max_size=8))
def test_segments_make_no_difference(live: Live, cuts: list[int]) -> None:
    sent = environment("verify", *BY_NAME)
    ends = sorted({min(cut, len(sent)) for cut in cuts} | {0, len(sent)})
    channel = Channel("", CALLED)
    segments = [sent[start:end] for start, end in pairwise(ends)]
    wire, _ = asyncio.run(spoken(live, segments, lambda line: channel.do(line.decode()[:-1]).encode()))
    assert len(wire.written) == 2
    assert channel.is_admitted


def test_what_admits_is_the_last_that_is_set() -> None:
    """Should anything cut a verdict short, it does not admit."""
    assert Verdict._fields[-1] == "result"
    assert Verdict()[-1] == "error"
