"""Clouds as the webhook doors know them: they sign what they send, do what they are told, and ask where they are told."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

from twilio.request_validator import RequestValidator

from daemon.doors import jambonz, twiml
from daemon.doors.surroundings import Surroundings
from daemon.live import Live
from daemon.metrics import Metrics
from daemon.throttle import NO_THROTTLE, Throttle
from loader.door_sections import Jambonz, SpokenPrompts, Twiml
from loader.keyring import Keyring
from tests.unit.daemon.doors.conftest import Answer

SECRET = "only-a-test-e1f7"
CALL = "CA0123456789abcdef0123456789abcdef"
CALLER = "+15550100"


class Heard(NamedTuple):
    """What a caller gets from one answer: what is said or played, and what comes then."""

    said: tuple[str, ...]
    following: str = ""
    """Where what he keys is sent; empty when he is not asked."""
    conference: str = ""
    """Where he is put; empty when he is not let in."""

    @property
    def is_asked(self) -> bool:
        return bool(self.following)

    @property
    def is_dismissed(self) -> bool:
        return not self.following and not self.conference


class Cloud(ABC):
    """One cloud, and the door that it asks."""

    name: str
    url: str
    path: str

    @abstractmethod
    def serving(self, surroundings: Surroundings, folder: Path, **settings: Any) -> AbstractAsyncContextManager[int]:
        """The door, with its secret in a file of this folder."""

    @abstractmethod
    def request(self, url: str, fields: Mapping[str, str], *, headers: str = "") -> bytes:
        """A signed POST."""

    @abstractmethod
    def first(self) -> dict[str, str]:
        """What it tells of a call that begins."""

    @abstractmethod
    def keyed(self, digits: str) -> dict[str, str]:
        """What it tells when the caller has keyed this, or nothing."""

    @abstractmethod
    def status(self, event: str) -> dict[str, str]:
        """What it tells of a call that has `joined` or `left` a conference, or is `over`."""

    @abstractmethod
    def heard(self, answer: Answer) -> Heard:
        """What the caller gets. Fails if the answer is not as the cloud wants it."""


class Twilio(Cloud):
    name = "twiml"
    url = "https://rollcall.example.com/twiml"
    path = "/twiml"

    def serving(self, surroundings: Surroundings, folder: Path, **settings: Any) -> AbstractAsyncContextManager[int]:
        file = str(secret_file(folder))
        return twiml.serving(
            Twiml(**{"enabled": True, "port": 0, "url": self.url, "auth_token_file": file, **settings}), surroundings
        )

    def request(self, url: str, fields: Mapping[str, str], *, headers: str = "") -> bytes:
        signature = RequestValidator(SECRET).compute_signature(url, fields)
        return post(
            url,
            urlencode(fields).encode(),
            f"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\nX-Twilio-Signature: {signature}\r\n"
            + headers,
        )

    def first(self) -> dict[str, str]:
        return {
            "AccountSid": "AC0123456789abcdef0123456789abcdef",
            "ApiVersion": "2010-04-01",
            "CallSid": CALL,
            "CallStatus": "ringing",
            "Direction": "inbound",
            "From": CALLER,
            "FromCity": "",
            "To": "+15550199",
        }

    def keyed(self, digits: str) -> dict[str, str]:
        return {**self.first(), "CallStatus": "in-progress"} | ({"Digits": digits} if digits else {})

    def status(self, event: str) -> dict[str, str]:
        if event == "over":
            return {**self.first(), "CallStatus": "completed", "SequenceNumber": "0", "CallDuration": "7"}
        return {
            "CallSid": CALL,
            "ConferenceSid": "CF0123456789abcdef0123456789abcdef",
            "FriendlyName": "C-1001",
            "SequenceNumber": "2" if event == "joined" else "3",
            "StatusCallbackEvent": {"joined": "participant-join", "left": "participant-leave"}[event],
        }

    def heard(self, answer: Answer) -> Heard:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
        document = ET.fromstring(answer.body)
        assert document.tag == "Response"
        names = [verb.tag for verb in document]
        if names == ["Gather", "Redirect"]:
            gather, redirect = document
            assert redirect.text == gather.get("action")
            assert gather.get("finishOnKey") == "#"
            return Heard(tuple(verb.text or "" for verb in gather), following=gather.get("action", ""))
        if names == ["Dial"]:
            (conference,) = document[0]
            assert conference.tag == "Conference"
            return Heard((), conference=conference.text or "")
        *spoken, hangup = document
        assert hangup.tag == "Hangup"
        assert {verb.tag for verb in spoken} <= {"Say", "Play"}
        return Heard(tuple(verb.text or "" for verb in spoken))


class JambonzCloud(Cloud):
    name = "jambonz"
    url = "https://rollcall.example.com/jambonz"
    path = "/jambonz"

    def serving(self, surroundings: Surroundings, folder: Path, **settings: Any) -> AbstractAsyncContextManager[int]:
        file = str(secret_file(folder))
        return jambonz.serving(
            Jambonz(**{"enabled": True, "port": 0, "url": self.url, "secret_file": file, **settings}), surroundings
        )

    def request(self, url: str, fields: Mapping[str, str], *, headers: str = "") -> bytes:
        return signed_json(url, json.dumps(fields).encode(), headers=headers)

    def first(self) -> dict[str, str]:
        return {"call_sid": CALL, "from": CALLER, "to": "15550199", "direction": "inbound", "call_status": "trying"}

    def keyed(self, digits: str) -> dict[str, str]:
        told = {**self.first(), "call_status": "in-progress"}
        return told | ({"reason": "dtmfDetected", "digits": digits} if digits else {"reason": "timeout"})

    def status(self, event: str) -> dict[str, str]:
        if event == "over":
            return {**self.first(), "call_status": "completed"}
        return {
            **self.first(),
            "call_status": "in-progress",
            "event": {"joined": "join", "left": "leave"}[event],
            "conference_sid": "conf:0123:C-1001",
            "time": "2026-01-02T03:04:05.678Z" if event == "joined" else "2026-01-02T03:05:05.678Z",
        }

    def heard(self, answer: Answer) -> Heard:
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        verbs = answer.json
        assert verbs[-1] == {"verb": "hangup"}
        names = [verb["verb"] for verb in verbs]
        said = [self._said(verb) for verb in verbs if verb["verb"] in ("say", "play")]
        if "gather" in names:
            gather = verbs[names.index("gather")]
            assert (gather["input"], gather["finishOnKey"], gather["minDigits"]) == (["digits"], "#", 1)
            # What stands behind is for when the next request fails.
            before = said[: names.index("gather")]
            return Heard((*before, self._said(gather.get("say") or gather["play"])), following=gather["actionHook"])
        if "conference" in names:
            assert names == ["conference", "hangup"]
            return Heard((), conference=verbs[0]["name"])
        assert set(names) <= {"say", "play", "hangup"}
        return Heard(tuple(said))

    @staticmethod
    def _said(verb: Mapping[str, str]) -> str:
        return verb.get("text") or verb["url"]


CLOUDS: tuple[Cloud, ...] = (Twilio(), JambonzCloud())


def secret_file(folder: Path, secret: str = SECRET) -> Path:
    """A file with the secret, for nobody else."""
    file = folder / "secret"
    file.touch(mode=0o600)
    file.write_text(secret + "\n")
    return file


def signed_json(url: str, body: bytes, *, at: float | None = None, headers: str = "") -> bytes:
    """What jambonz posts: signed as its feature server signs."""
    seconds = int(time.time() if at is None else at)
    signature = hmac.new(SECRET.encode(), b"%d.%b" % (seconds, body), hashlib.sha256).hexdigest()
    head = f"Content-Type: application/json\r\nJambonz-Signature: t={seconds},v1={signature}\r\n"
    return post(url, body, head + headers)


def post(url: str, body: bytes, headers: str = "") -> bytes:
    """A POST to the path and query of this address."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    return (f"POST {target} HTTP/1.1\r\nHost: rollcall\r\nContent-Length: {len(body)}\r\n{headers}\r\n").encode() + body


class Door:
    """An open door of one cloud, what it stands in, and one caller's way through it."""

    def __init__(self, cloud: Cloud, port: int, surroundings: Surroundings) -> None:
        self.cloud, self.port, self.surroundings = cloud, port, surroundings

    async def ask(self, request: bytes) -> Answer:
        """The answer to one request, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            async with asyncio.timeout(10):
                return await read_answer(reader)
        finally:
            writer.close()

    async def tell(self, url: str, fields: Mapping[str, str], *, headers: str = "") -> Answer:
        """The answer to what the cloud tells, signed."""
        return await self.ask(self.cloud.request(url, fields, headers=headers))

    async def calls(self, query: str = "", **fields: str) -> Heard:
        """A call begins."""
        return self.cloud.heard(await self.tell(self.cloud.url + query, self.cloud.first() | fields))

    async def keys(self, digits: str, after: Heard, **fields: str) -> Heard:
        """The caller has heard this, and keys, or is silent."""
        return self.cloud.heard(await self.tell(after.following, self.cloud.keyed(digits) | fields))

    async def reports(self, event: str) -> Answer:
        """The cloud tells what has become of the call."""
        return await self.tell(f"{self.cloud.url}/status", self.cloud.status(event))

    def verifications(self, result: str) -> float:
        """How many there were with this result."""
        return self._metric("rollcall_verifications_total", result=result)

    def refused(self, status: int) -> float:
        return self._metric("rollcall_http_requests_refused_total", status=str(status))

    def events(self, event: str) -> float:
        return self._metric("rollcall_call_events_total", event=event)

    def _metric(self, name: str, **labels: str) -> float:
        value = self.surroundings.metrics.registry.get_sample_value(name, {"door": self.cloud.name, **labels})
        return value or 0.0


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next answer on a connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    status = int(first.split()[1])
    body = b"" if status == 204 else await reader.readexactly(int(headers["content-length"]))
    return Answer(status, headers, body, head + body)


def surroundings(live: Live, folder: Path, *, throttle: Throttle = NO_THROTTLE) -> Surroundings:
    """What a door stands in, with a key file in this folder."""
    file = folder / "rollcall.key"
    keyring = Keyring.load(file) if file.exists() else Keyring.create(file)
    return Surroundings(live, Metrics("0"), lambda: keyring, lambda: 5.0, throttle)


@asynccontextmanager
async def opened(
    cloud: Cloud, live: Live, folder: Path, *, throttle: Throttle = NO_THROTTLE, **settings: Any
) -> AsyncIterator[Door]:
    """The door of this cloud, on a port that the system has chosen."""
    around = surroundings(live, folder, throttle=throttle)
    async with cloud.serving(around, folder, **settings) as port:
        yield Door(cloud, port, around)


def own(**texts: str) -> SpokenPrompts:
    """Prompts as the settings may name them."""
    return SpokenPrompts(**texts)
