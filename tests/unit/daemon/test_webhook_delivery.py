"""What companies are told: a real receiver, a real database, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from daemon.webhook_delivery import TIMEOUT, WebhookDelivery
from loader.keyring import Keyring
from loader.model import Participant
from loader.roll import Admitted, Event, Joined, Left
from loader.rotate import rotate_key
from loader.store import Store
from loader.store.choices import Choices
from loader.store.deliveries import LEASE, Deliveries, Delivery
from loader.store.rolls import BEGINNING, Progress
from loader.store.taking import RollTaker
from loader.webhooks import secret_text

T = 1_700_000_000.0
SECRET = bytes(range(32))
PASSCODE, PIN, CALLER = "7784321", "004127", "+15550199"
MIKE = Participant("Mike", "Doe", "XYZ", "+1 555 0100", "mike@example.com", "Uxbridge", "UK", "")


def verified(secret: str, headers: Any, body: bytes) -> bool:
    """As the specification tells receivers to check, on its own: nothing of the sender's code is used."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    ours = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    versions = [one.partition(",") for one in headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(told, ours) for version, _, told in versions)


class Receiver:
    """What a company runs. `answers` are its next answers; after these it says 204."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.requests: list[tuple[Any, bytes]] = []
        self.answers: list[web.Response] = []
        self.hangs = False
        self.at_once = self.most_at_once = 0
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()
        app = web.Application()
        app.router.add_post("/rolls", self._hear)
        app.router.add_route("*", "/elsewhere", self._elsewhere)
        self.elsewhere = 0
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return str(self.server.make_url("/rolls"))

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.heard]

    async def _hear(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.arrived.set()
        try:
            if self.hangs:
                await self.released.wait()
        finally:
            self.at_once -= 1
        self.requests.append((request.headers, body))
        self.heard.append(json.loads(body))
        return self.answers.pop(0) if self.answers else web.Response(status=204)

    async def _elsewhere(self, _: web.Request) -> web.Response:
        self.elsewhere += 1
        return web.Response()


class Keeper:
    """One keeper's teller, a step at a time."""

    def __init__(self, teller: WebhookDelivery, client: aiohttp.ClientSession) -> None:
        self.teller, self.client = teller, client

    async def step(self) -> None:
        """Hand out, wait for the answers, and write them."""
        await self.teller.step(self.client)
        await self.teller.settled()
        await self.teller._write_outcomes()

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await self.step()


class Company:
    """A company that wants to be told, and what happens on its calls."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.store, self.keyring = store, keyring
        self.choices, self.deliveries = Choices(store), Deliveries(store)
        self.taker = RollTaker(store, quiet=60.0)
        self.now = T
        self._at = BEGINNING

    def clock(self) -> float:
        return self.now

    async def wants(self, url: str) -> None:
        await self.choices.set_webhook_secret(self.keyring, "globaltest", SECRET)
        await self.choices.set_webhook("globaltest", url)

    async def happens(self, *events: Event) -> None:
        following = Progress(1, self._at.offset + 1)
        await self.taker.apply(self.keyring, events, "journal", self._at, following)
        self._at = following

    async def newest(self) -> list[Delivery]:
        return await self.deliveries.newest("globaltest")


@pytest.fixture
def company(store: Store, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> Company:
    made = Company(store, keyring)
    monkeypatch.setattr("loader.store.deliveries.time.time", made.clock)
    return made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.server.start_server()
    yield made
    made.released.set()
    await made.server.close()


NewKeeper = Callable[..., Any]


@pytest.fixture
async def keeper(company: Company) -> AsyncIterator[NewKeeper]:
    """Makes keepers over the company's database."""
    async with AsyncExitStack() as stack:

        async def make(
            *, private: bool = True, timeout: float = TIMEOUT, jitter: float = 1.0, keyring: Keyring | None = None
        ) -> Keeper:
            teller = WebhookDelivery(
                Deliveries(company.store),
                keyring or company.keyring,
                private=private,
                timeout=timeout,
                clock=company.clock,
                jitter=lambda: jitter,
            )
            return Keeper(teller, await stack.enter_async_context(teller.client()))

        yield make


def admitted(at: float, call_id: str = "1", *, source: str = "pbx-1") -> Admitted:
    return Admitted(
        T + at, f"v-{call_id}-{at:g}", "http", source, call_id, CALLER, "C-1001", "organizer:alicia", PIN, MIKE
    )


def joined(at: float, call_id: str = "1") -> Joined:
    return Joined(T + at, "pbx-1", call_id)


def left(at: float, call_id: str = "1") -> Left:
    return Left(T + at, "pbx-1", call_id)


async def test_a_call_is_told_from_its_admission_to_the_end(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    await company.happens(joined(1.5), left(10))
    await company.taker.sweep(T + 100, 3600, company.keyring)
    await (await keeper()).steps(3)
    calls = [event for event in receiver.heard if event["type"] != "occurrence.ended"]
    assert [event["type"] for event in calls] == ["call.admitted", "call.joined", "call.left"]
    last = calls[-1]
    assert last["timestamp"] == "2023-11-14T22:13:30.000Z"
    assert last["data"] == {
        "conference": {"id": "C-1001", "title": "Weekly call"},
        "occurrence": {"id": "1", "started_at": "2023-11-14T22:13:20.000Z", "ended_at": None},
        "call": {
            "id": "v-1-0",
            "admitted_at": "2023-11-14T22:13:20.000Z",
            "joined_at": "2023-11-14T22:13:21.500Z",
            "left_at": "2023-11-14T22:13:30.000Z",
            "ended": "left",
        },
        "participant": {"first_name": "Mike", "last_name": "Doe"},
    }
    (ended,) = [event["data"] for event in receiver.heard if event["type"] == "occurrence.ended"]
    assert ended["occurrence"]["ended_at"] == "2023-11-14T22:13:30.000Z"
    assert "call" not in ended
    for headers, body in receiver.requests:
        assert verified(secret_text(SECRET), headers, body)
        assert not verified(secret_text(SECRET), headers, body + b" ")
        assert headers["webhook-timestamp"] == str(int(company.now))
        assert headers["webhook-id"] == json.loads(body)["id"]
        assert headers["Content-Type"] == "application/json"
        for private in (PASSCODE, PIN, CALLER, "mike@example.com", "555 0100"):
            assert private.encode() not in body
    assert all(one.delivered and one.answer == "204" for one in await company.newest())


async def test_calls_that_fall_silent_or_move_are_told_too(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    await company.wants(receiver.url)
    other = Admitted(T + 5, "v-other", "http", "pbx-1", "1", None, "C-1001", "organizer:alicia", "1234", MIKE)
    await company.happens(admitted(0), other)
    await company.taker.sweep(T + 5000, 3600, company.keyring)
    await (await keeper()).steps(3)
    ended = {event["data"]["call"]["id"]: event["data"]["call"] for event in receiver.heard if "left" in event["type"]}
    assert ended["v-1-0"]["ended"] == "moved"
    assert ended["v-other"]["ended"] == "silent"
    assert ended["v-other"]["left_at"] is None


async def test_an_occurrence_that_the_next_one_ends_is_told(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0), left(1), admitted(1000, "2"))
    await (await keeper()).steps(3)
    assert sorted(receiver.types) == ["call.admitted", "call.admitted", "call.left", "occurrence.ended"]


async def test_companies_that_want_nothing_have_no_rows(company: Company, keeper: NewKeeper) -> None:
    await company.happens(admitted(0), joined(1), left(2))
    await company.taker.sweep(T + 5000, 3600, company.keyring)
    assert await company.newest() == []
    await (await keeper()).step()


async def test_events_taken_twice_are_told_once(company: Company, receiver: Receiver, keeper: NewKeeper) -> None:
    await company.wants(receiver.url)
    for _ in range(2):
        await company.happens(admitted(0), joined(1), joined(2), left(3), left(4))
    await (await keeper()).steps(4)
    assert receiver.types == ["call.admitted", "call.joined", "call.left"]


async def test_what_fails_is_tried_again_later_and_later_under_the_same_id(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    """5 s, then three times as long each time, up to an hour; up to half of it is left out by chance."""
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    receiver.answers = [web.Response(status=status) for status in (500, 404, 302, 503)]
    one = await keeper()
    waits = []
    for _ in range(4):
        await one.step()
        (waiting,) = await company.newest()
        assert waiting.next_at is not None
        waits.append(waiting.next_at - company.now)
        company.now = waiting.next_at - 0.001
        heard = len(receiver.heard)
        await one.step()
        assert len(receiver.heard) == heard, "not before its time"
        company.now = waiting.next_at
    assert waits == [5, 15, 45, 135]
    await one.step()
    (done,) = await company.newest()
    assert (done.attempts, done.delivered, done.answer, done.next_at) == (5, True, "204", None)
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1
    stamps = [int(headers["webhook-timestamp"]) for headers, _ in receiver.requests]
    assert stamps == sorted(set(stamps)), "each try is signed with its own time"
    assert one.teller.results == {"failed": 4, "delivered": 1}


async def test_waits_are_spread_by_chance(company: Company, receiver: Receiver, keeper: NewKeeper) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    receiver.answers = [web.Response(status=500)]
    await (await keeper(jitter=0.0)).step()
    assert (await company.newest())[0].next_at == T + 2.5


async def test_a_receiver_that_says_when_is_asked_then(company: Company, receiver: Receiver, keeper: NewKeeper) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    receiver.answers = [web.Response(status=503, headers={"Retry-After": "600"})]
    await (await keeper()).step()
    assert (await company.newest())[0].next_at == T + 600


async def test_after_a_day_it_is_given_up_and_told(company: Company, receiver: Receiver, keeper: NewKeeper) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    receiver.answers = [web.Response(status=500) for _ in range(100)]
    one = await keeper()
    with structlog.testing.capture_logs() as logged:
        while (waiting := (await company.newest())[0]).next_at is not None:
            company.now = waiting.next_at
            await one.step()
    assert T + 82800 < company.now <= T + 86400
    assert 25 < len(receiver.heard) < 40
    (done,) = await company.newest()
    assert (done.delivered, done.answer, done.done_at) == (False, "500", company.now)
    assert one.teller.results["given_up"] == 1
    (line,) = [line for line in logged if line["event"] == "webhook_given_up"]
    assert line["company"] == "globaltest"
    assert receiver.url not in str(logged)
    company.now += 10_000
    heard = len(receiver.heard)
    await one.step()
    assert len(receiver.heard) == heard


async def test_what_nobody_came_round_to_is_given_up_too(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    company.now += 86401
    one = await keeper()
    with structlog.testing.capture_logs():
        await one.step()
    assert receiver.heard == []
    assert one.teller.results == {"given_up": 1}
    (row,) = await company.store.all(select_rows())
    assert (row.sealed, row.key_id) == (None, None), "what it said is forgotten"


def select_rows() -> Any:
    from loader.store.tables import webhook_delivery

    return webhook_delivery.select()


async def test_who_is_gone_is_told_nothing_more_until_asked_again(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0), admitted(0, "2"), joined(1))
    receiver.answers = [web.Response(status=410), web.Response(status=410)]
    one = await keeper()
    with structlog.testing.capture_logs():
        await one.step()
    assert all(row.next_at is None and not row.delivered for row in await company.newest())
    assert (await company.choices.of("globaltest")).webhook_stopped_at == T
    await company.happens(joined(3, "2"))
    assert len(await company.newest()) == 3
    await company.deliveries.add_test(company.keyring, "globaltest")
    await one.step()
    assert receiver.types[-1] == "webhook.test"
    assert (await company.choices.of("globaltest")).webhook_stopped_at is None


async def test_redirects_are_not_followed(company: Company, receiver: Receiver, keeper: NewKeeper) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    receiver.answers = [web.Response(status=307, headers={"Location": "/elsewhere"})]
    await (await keeper()).step()
    assert receiver.elsewhere == 0
    assert (await company.newest())[0].answer == "307"


async def test_events_of_one_call_are_sent_in_order_until_each_was_tried(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0), joined(1), left(2))
    receiver.answers = [web.Response(status=500)]
    one = await keeper()
    await one.step()
    assert receiver.types == ["call.admitted"]
    await one.steps(2)
    assert receiver.types == ["call.admitted", "call.joined", "call.left"]
    company.now += 5
    await one.step()
    assert receiver.types[-1] == "call.admitted"


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}/rolls",
        "https://127.0.0.1:{port}/rolls",
        "http://localhost:{port}/rolls",
        "https://[::1]:{port}/rolls",
        "https://[::ffff:127.0.0.1]:{port}/rolls",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest",
        "http://example.com/",
        "file:///etc/passwd",
    ],
)
async def test_private_networks_are_not_called_whatever_the_database_says(
    company: Company, receiver: Receiver, keeper: NewKeeper, address: str
) -> None:
    await company.wants(address.format(port=receiver.server.port))
    await company.happens(admitted(0))
    await (await keeper(private=False)).step()
    assert receiver.requests == []
    (waiting,) = await company.newest()
    assert waiting.answer == "refused"


async def test_a_name_is_judged_by_the_address_that_it_stands_for_when_it_is_called(
    company: Company, receiver: Receiver, keeper: NewKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever chose it may have it stand for another one since."""

    async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        assert host == "rolls.example.com"
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", resolve)
    await company.wants(f"https://rolls.example.com:{receiver.server.port}/rolls")
    await company.happens(admitted(0))
    await (await keeper(private=False)).step()
    assert receiver.requests == []
    assert (await company.newest())[0].answer == "refused"


async def test_nobody_at_home_and_no_tls_are_told_as_what_they_are(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    await company.wants(receiver.url.replace("http:", "https:"))
    await company.happens(admitted(0))
    one = await keeper()
    await one.step()
    assert (await company.newest())[0].answer == "tls"
    await company.wants("http://127.0.0.1:1/")
    company.now += 5
    await one.step()
    assert (await company.newest())[0].answer == "unreachable"


async def test_a_receiver_that_hangs_delays_no_event_on_its_way_into_the_rolls(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    """Nor does it hear more than some events at the same time; when its time is over it is asked again later."""
    receiver.hangs = True
    await company.wants(receiver.url)
    await company.happens(*(admitted(0, str(number)) for number in range(20)))
    one = await keeper(timeout=0.4)
    await one.teller.step(one.client)
    await receiver.arrived.wait()
    async with asyncio.timeout(5):
        for number in range(20):
            await company.happens(joined(1 + number, str(number)))
    assert receiver.heard == []
    await one.teller.settled()
    await one.teller._write_outcomes()
    assert receiver.most_at_once <= 8
    tried = [row for row in await company.newest() if row.event == "call.admitted"]
    assert {row.answer for row in tried} <= {"timeout"}


async def test_two_keepers_tell_nothing_twice(company: Company, receiver: Receiver, keeper: NewKeeper) -> None:
    await company.wants(receiver.url)
    await company.happens(*(admitted(0, str(number)) for number in range(100)))
    both = [await keeper(), await keeper()]
    for _ in range(4):
        await asyncio.gather(*(one.step() for one in both))
    ids = [event["id"] for event in receiver.heard]
    assert len(ids) == len(set(ids)) == 100
    assert all(one.teller.results["delivered"] for one in both)


async def test_what_a_killed_keeper_had_in_hand_another_takes_after_its_lease(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    receiver.hangs = True
    await company.wants(receiver.url)
    await company.happens(admitted(0), joined(1))
    killed, other = await keeper(), await keeper()
    await killed.teller.step(killed.client)
    await receiver.arrived.wait()
    for task in killed.teller._under_way:
        task.cancel()
    await asyncio.gather(*killed.teller._under_way, return_exceptions=True)
    receiver.hangs = False
    await other.step()
    assert receiver.heard == []
    company.now += LEASE
    await other.steps(2)
    assert receiver.types == ["call.admitted", "call.joined"]


async def test_a_keeper_that_is_started_again_goes_on(company: Company, receiver: Receiver, keeper: NewKeeper) -> None:
    """Running by itself; at its end it writes what it was told."""
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    for _ in range(2):
        one = await keeper()
        async with one.teller.running():
            receiver.arrived.clear()
            await company.deliveries.add_test(company.keyring, "globaltest")
            one.teller.news.set()
            async with asyncio.timeout(10):
                await receiver.arrived.wait()
    assert sorted(receiver.types) == ["call.admitted", "webhook.test", "webhook.test"]
    assert all(row.delivered for row in await company.newest())


async def test_what_waits_outlives_a_rotation_of_the_key(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    """And the keeper with the old key reads the file again."""
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    one = await keeper()
    rotated = await rotate_key(company.store, company.keyring)
    assert rotated.key_ids.isdisjoint(company.keyring.key_ids)
    await one.step()
    assert receiver.types == ["call.admitted"]
    assert verified(secret_text(SECRET), *receiver.requests[0])


async def test_a_row_that_was_tampered_with_is_told_to_nobody(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    from loader.store.tables import webhook_delivery

    await company.wants(receiver.url)
    await company.happens(admitted(0), admitted(0, "2"))
    async with company.store.transaction() as connection:
        await connection.execute(webhook_delivery.update().where(webhook_delivery.c.id == 1).values(sealed=b"x" * 64))
    await (await keeper()).step()
    assert len(receiver.heard) == 1
    assert {row.answer for row in await company.newest()} == {"damaged", "204"}


async def test_without_an_address_what_waits_is_forgotten(company: Company, receiver: Receiver) -> None:
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    await company.choices.set_webhook("globaltest", "")
    assert await company.newest() == []


async def test_a_secret_that_was_tampered_with_silences_its_own_company_only(
    company: Company, receiver: Receiver, keeper: NewKeeper
) -> None:
    from loader.store.tables import company_choice

    await company.choices.set_webhook_secret(company.keyring, "other", SECRET)
    await company.choices.set_webhook("other", receiver.url)
    await company.deliveries.add_test(company.keyring, "other")
    async with company.store.transaction() as connection:
        other = company_choice.c.company_id == "other"
        await connection.execute(company_choice.update().where(other).values(webhook_secret=b"x" * 64))
    await company.wants(receiver.url)
    await company.happens(admitted(0))
    await (await keeper()).step()
    assert receiver.types == ["call.admitted"]
