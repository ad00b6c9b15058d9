"""Where a switch asks from, how often, and with which of its tokens: on every way that a question can be answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.doors.problem import TITLES
from daemon.live import Live
from loader.model import Switch, SwitchToken
from loader.tokens import token_hash
from tests.unit.daemon.doors import test_httapi, test_voicexml
from tests.unit.daemon.doors.conftest import TOKEN, Answer, get, post, serving
from tests.unit.daemon.doors.platforms import BASIC, Door, request

ASKED = {"passcode": "7784321", "pin": "004127"}
QUESTIONS = [
    pytest.param(post(ASKED), id="verify"),
    pytest.param(post(ASKED, headers="Connection: close\r\n"), id="verify, once"),
    pytest.param(post(ASKED, "/v1/verify.txt"), id="a line"),
    pytest.param(post(ASKED, "/v1/verify.txt?style=form"), id="a form"),
    pytest.param(post(ASKED, "/v1/verify.txt?style=none"), id="no style"),
    pytest.param(get("/v1/conferences/7784321"), id="a conference"),
    pytest.param(get("/v1/conferences/7784321", method="HEAD"), id="whether there is a conference"),
    pytest.param(post(b"", "/v1/calls/1.17/joined", media_type=None), id="joined"),
    pytest.param(post(b"", "/v1/calls/1.17/left", media_type=None), id="left"),
]
BOUND = Switch.new("pbx-1", token_hash(TOKEN), 0.0, ("192.0.2.0/24",))
EXPIRED = Switch("pbx-1", 0.0, (SwitchToken(token_hash(TOKEN), 0.0, 1.0), SwitchToken(bytes(32), 0.0)))
SLOW = Switch.new("pbx-1", token_hash(TOKEN), 0.0, rate=1)
FREE = Switch.new("pbx-1", token_hash(TOKEN), 0.0)


def with_switch(live: Live, switch: Switch) -> Live:
    live.swap_switches([switch])
    return live


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
def at_once(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def answered(live: Live, question: bytes, *, at_once: bool) -> Answer:
    async with serving(live, at_once=at_once) as door:
        client = await door.client()
        await client.send(question)
        return await client.answer(has_body=not question.startswith(b"HEAD"))


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("switch", [BOUND, EXPIRED], ids=["from elsewhere", "expired"])
async def test_a_token_that_is_not_taken_is_answered_as_a_wrong_one(
    live: Live, switch: Switch, question: bytes, at_once: bool
) -> None:
    """To the letter, but for the date."""
    wrong = await answered(live, question.replace(TOKEN.encode(), b"rc_wrong"), at_once=at_once)
    ours = await answered(with_switch(live, switch), question, at_once=at_once)
    wrong.headers.pop("date"), ours.headers.pop("date")
    assert (ours.status, ours.headers, ours.body) == (401, wrong.headers, wrong.body)
    assert (await answered(with_switch(live, FREE), question, at_once=at_once)).status != 401


async def test_a_token_from_elsewhere_is_counted_apart(live: Live, at_once: bool) -> None:
    async with serving(with_switch(live, BOUND), at_once=at_once) as door:
        await door.ask(post(ASKED))
        await door.ask(post(ASKED, token="rc_wrong"))
        live.swap_switches([EXPIRED])
        await door.ask(post(ASKED))
        value = door.metrics.registry.get_sample_value
        assert value("rollcall_http_requests_refused_total", {"door": "http", "status": "401"}) == 3
        for why in "address", "expired":
            assert value("rollcall_tokens_refused_total", {"door": "http", "why": why}) == 1


async def test_a_token_from_its_place_is_taken(live: Live, at_once: bool) -> None:
    bound = Switch.new("pbx-1", token_hash(TOKEN), 0.0, ("127.0.0.1",))
    assert (await answered(with_switch(live, bound), post(ASKED), at_once=at_once)).status == 200


@pytest.mark.parametrize("question", QUESTIONS)
async def test_who_asks_too_often_is_told_when_to_ask_again(live: Live, question: bytes, at_once: bool) -> None:
    """In the form that the address has, and as described."""
    live = with_switch(live, SLOW)
    async with serving(live, at_once=at_once) as door:
        assert (await door.ask(post(ASKED))).status == 200
        client = await door.client()
        if question.startswith(b"HEAD"):
            await client.send(question)
            answer = await client.answer(has_body=False)
        else:
            answer = await client.ask(question)
        assert answer.status == 429
        assert answer.headers["retry-after"] == "1"
        value = door.metrics.registry.get_sample_value
        assert value("rollcall_http_requests_refused_total", {"door": "http", "status": "429"}) == 1


async def test_in_the_text_form_it_is_an_error_with_its_title(live: Live, at_once: bool) -> None:
    live = with_switch(live, SLOW)
    async with serving(live, at_once=at_once) as door:
        assert (await door.ask(post(ASKED, "/v1/verify.txt"))).text.startswith("accepted|")
        assert (await door.ask(post(ASKED, "/v1/verify.txt"))).text == "error|Too Many Requests"
        form = (await door.ask(post(ASKED, "/v1/verify.txt?style=form"))).form
        assert form == {"result": "error", "title": "Too Many Requests"}
        assert (await door.ask(post(ASKED))).json["status"] == 429


# The doors that take a token as Basic too

DOORS = {
    "httapi": (test_httapi.opening, [("POST", "/httapi", b"session_id=1")]),
    "voicexml": (
        test_voicexml.opening,
        [
            ("GET", "/dialogue.vxml", b""),
            ("GET", "/subdialog.vxml", b""),
            ("POST", "/heard.vxml", b"call_id=1&digits=7784322"),
        ],
    ),
}
ASKS = [(name, *asked) for name, (_, requests) in DOORS.items() for asked in requests]


def refuses(name: str, answer: Answer, status: int) -> bool:
    """Whether an answer says this status: mod_httapi reads nothing but a document that comes with 200."""
    if name == "httapi":
        return answer.status == 200 and b"<hangup" in answer.body and TITLES[status].encode() in answer.body
    return answer.status == status


@pytest.mark.parametrize("authorization", [BASIC, f"Bearer {TOKEN}"], ids=["basic", "bearer"])
@pytest.mark.parametrize(("name", "method", "path", "body"), ASKS)
async def test_the_other_doors_fail_closed(
    live: Live, tmp_path: Path, name: str, method: str, path: str, body: bytes, authorization: str
) -> None:
    asked = request(method, path, body, authorization=authorization)
    opening, _ = DOORS[name]
    async with opening(live, tmp_path) as door:
        assert (await door.ask(asked)).status == 200
        for switch, why in ((BOUND, "address"), (EXPIRED, "expired")):
            live.swap_switches([switch])
            assert refuses(name, await door.ask(asked), 401)
            assert refused(door, why) == 1
        live.swap_switches([SLOW])
        assert (await door.ask(asked)).status == 200
        assert refuses(name, await door.ask(asked), 429)
        assert door.refused(429) == 1


def refused(door: Door, why: str) -> float | None:
    labels = {"door": door.name, "why": why}
    return door.surroundings.metrics.registry.get_sample_value("rollcall_tokens_refused_total", labels)
