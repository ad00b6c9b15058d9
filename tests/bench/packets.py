"""What packets of RADIUS cost by themselves, beside pyrad's: the ground of decision 10."""

from __future__ import annotations

from collections.abc import Callable
from timeit import repeat
from typing import Any, Final

from pyrad.dictionary import Dictionary
from pyrad.packet import AuthPacket

from daemon.doors.radius_answer import accepted
from daemon.doors.radius_packet import (
    ACCESS_ACCEPT,
    CALLING_STATION_ID,
    DICTIONARY,
    H323_CONF_ID,
    USER_NAME,
    USER_PASSWORD,
    Request,
    Secret,
    parse,
)
from daemon.verify import Verification
from loader.index import Decision
from loader.model import Conference, Level, Participant, Passcode, Revision
from tests.bench.figures import Figure

_SECRET: Final = b"a-secret-for-the-bench-alone-4711"
_NAMES: Final = Dictionary(str(DICTIONARY))
_NUMBER: Final = 200
_ROUNDS: Final = 200


def run() -> list[Figure]:
    """One question, read, checked, and answered, each with all that stands before it; the best of several rounds."""
    asked = AuthPacket(secret=_SECRET, dict=_NAMES, id=7, authenticator=bytes(range(16)))
    asked["User-Name"] = "7784321"
    asked["User-Password"] = asked.PwCrypt("004127")
    asked["Calling-Station-Id"] = "+15550100"
    asked["h323-conf-id"] = "h323-conf-id=02102944 600A1899 3FD61009 0E2F3CC5"
    asked.add_message_authenticator()
    datagram: bytes = asked.RequestPacket()
    ours, theirs = _Ours(datagram), _Theirs(datagram)
    if len(ours.answer()) != len(theirs.answer()):
        raise RuntimeError("the two do not answer the same")
    return [
        Figure(f"a packet of RADIUS: {name}", _microseconds(one), "µs", beside=_microseconds(other))
        for name, one, other in (
            ("read", ours.read, theirs.read),
            ("read and checked", ours.check, theirs.check),
            ("read, checked and answered", ours.answer, theirs.answer),
        )
    ]


def _microseconds(what: Callable[[], object]) -> float:
    return 1e6 * min(repeat(what, number=_NUMBER, repeat=_ROUNDS)) / _NUMBER


class _Ours:
    """As the door does it."""

    def __init__(self, datagram: bytes) -> None:
        self._datagram = datagram
        self._secret = Secret(_SECRET)
        conference = Conference("C-1", "Bench", Passcode("7784321"), "ann", True, ())
        who = Participant("Mike", "Doe", "XYZ", "", "", "Uxbridge", "UK", "")
        decision = Decision(None, conference, who, Level.ORGANIZER, Revision(1))
        self._verification = Verification("9f2c41d07a55e1b3-1f", decision)

    def read(self) -> Request:
        return parse(self._datagram)

    def check(self) -> Request:
        request = self.read()
        if not request.has_signature_of(self._secret):
            raise RuntimeError("the signature is wrong")
        return request

    def answer(self) -> bytes:
        request = self.check()
        hidden = request.value(USER_PASSWORD)
        if hidden is None or self._secret.revealed(hidden, request.authenticator) != b"004127":
            raise RuntimeError("the PIN is wrong")
        request.value(USER_NAME)
        request.value(CALLING_STATION_ID)
        request.cisco(H323_CONF_ID)
        return request.reply(ACCESS_ACCEPT, self._secret, accepted(self._verification, "17"), signed=True)


class _Theirs:
    """The same with pyrad."""

    def __init__(self, datagram: bytes) -> None:
        self._datagram = datagram

    def read(self) -> Any:
        return AuthPacket(secret=_SECRET, dict=_NAMES, packet=self._datagram)

    def check(self) -> Any:
        request = self.read()
        if not request.verify_message_authenticator():
            raise RuntimeError("the signature is wrong")
        return request

    def answer(self) -> bytes:
        request = self.check()
        if request.PwDecrypt(request["User-Password"][0]) != "004127":
            raise RuntimeError("the PIN is wrong")
        request["User-Name"], request["Calling-Station-Id"], request["h323-conf-id"]
        reply = request.CreateReply()
        reply["h323-return-code"] = "h323-return-code=0"
        reply["Class"] = b"rollcall:9f2c41d07a55e1b3-1f:17"
        for pair in ("conference-id:C-1", "level:organizer", "first-name:Mike", "last-name:Doe", "company:XYZ"):
            reply.AddAttribute("Cisco-AVPair", f"h323-ivr-in={pair}")
        reply["Reply-Message"] = "This PIN is valid."
        answer: bytes = reply.ReplyPacket()
        return answer
