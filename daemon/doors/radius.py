"""The RADIUS door: gateways ask with an Access-Request whether a PIN is valid, and tell by accounting who joined.

`User-Name` is the passcode, `User-Password` (PAP) the PIN, `Calling-Station-Id` the caller, `h323-conf-id` or else
`Acct-Session-Id` the call. RFC 2865, RFC 2866, RFC 5997 (Status-Server), RFC 5080 section 2.2.2 (retransmissions).

What cannot be decided is not answered: a gateway then asks its next server, and lets nobody in if that is silent too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from time import monotonic, perf_counter
from typing import Final, TypeAlias

import structlog

from daemon.doors.datagrams import Address, Answer, answering
from daemon.doors.radius_answer import accepted, message, rejected, told_in_class
from daemon.doors.radius_clients import Clients
from daemon.doors.radius_packet import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    ACCT_SESSION_ID,
    ACCT_STATUS_TYPE,
    CALLING_STATION_ID,
    CHAP_PASSWORD,
    EAP_MESSAGE,
    H323_CONF_ID,
    START,
    STATUS_SERVER,
    STOP,
    USER_NAME,
    USER_PASSWORD,
    Malformed,
    Request,
    Secret,
    parse,
)
from daemon.doors.surroundings import Surroundings
from loader.door_sections import Radius
from loader.index import MAX_KEYED, MAX_TOLD, Question

log = structlog.get_logger(__name__)

DOOR: Final = "radius"
"""The door's name in metrics and settings."""

_REMEMBERED: Final = 30.0
"""Seconds in which a retransmission gets the answer of the first: three, each after 5 seconds, and some to spare."""
_MOST: Final = 32_768
"""Answers that are remembered at a port; the oldest are forgotten first."""


class Dropped(Exception):
    """A request is not answered; `why` is how it is counted."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class RadiusDoor:
    """Answers datagrams, or does not: nothing is raised."""

    def __init__(self, surroundings: Surroundings, clients: Clients, *, clock: Callable[[], float] = monotonic) -> None:
        self._live = surroundings.live
        self._verify = surroundings.verifier(DOOR).verify
        self._roll = surroundings.roll(DOOR)
        self._clients = clients
        self._dropped = surroundings.metrics.dropped(DOOR)
        self._clock = clock
        self.authentication = self._port(
            {ACCESS_REQUEST: (_signed, self._access), STATUS_SERVER: (_signed, self._status)}
        )
        """Answers a datagram at the port for authentication."""
        self.accounting = self._port(
            {ACCOUNTING_REQUEST: (_authentic, self._account), STATUS_SERVER: (_signed, self._accounting_status)}
        )
        """Answers a datagram at the port for accounting."""

    def _port(self, services: Mapping[int, _Service]) -> Answer:
        remembered = _Remembered(self._clock)
        secret_of = self._clients.secret_of

        def answer(datagram: bytes, address: Address) -> bytes | None:
            begun = perf_counter()
            try:
                secret = secret_of(address[0])
                if secret is None:
                    raise Dropped("unknown_client")
                request = parse(datagram)
                service = services.get(request.code)
                if service is None:
                    raise Dropped("unexpected_code")
                check, decide = service
                proof = check(request, secret)
                source = (address, request.identifier)
                reply = remembered.reply(source, proof)
                if reply is None:
                    reply = decide(request, secret, begun)
                    remembered.keep(source, proof, reply)
            except Dropped as dropped:
                self._dropped(dropped.why)
            except Malformed:
                self._dropped("malformed")
            except Exception as error:
                self._dropped("failed")
                log.error("request_failed", door=DOOR, exc_info=error)
            else:
                return reply
            return None

        return answer

    def _access(self, request: Request, secret: Secret, begun: float) -> bytes:
        name, hidden = request.value(USER_NAME), request.value(USER_PASSWORD)
        if name is None:
            raise Malformed
        if request.values(CHAP_PASSWORD) or request.values(EAP_MESSAGE):
            # There is nothing to look up in a hash. Silence would make the gateway think that nobody is here.
            self._dropped("not_pap")
            return request.reply(ACCESS_REJECT, secret, (message("Only PAP is understood."),), signed=True)
        pin = b"" if hidden is None else secret.revealed(hidden, request.authenticator)
        call_id = _call_id(request)
        caller = request.value(CALLING_STATION_ID)
        question = Question(_keyed(name), _keyed(pin), call_id, _text(caller or b"", MAX_TOLD) or None)
        verification = self._verify(question, begun)
        if verification is None:
            raise Dropped("not_loaded")
        decision = verification.decision
        if decision.reason is None and decision.conference is not None:
            return request.reply(ACCESS_ACCEPT, secret, accepted(verification, call_id), signed=True)
        return request.reply(ACCESS_REJECT, secret, rejected(decision), signed=True)

    def _status(self, request: Request, secret: Secret, _begun: float) -> bytes:
        # Who hears from us sends us callers: not before they can be answered.
        if self._live.index is None:
            raise Dropped("not_loaded")
        return request.reply(ACCESS_ACCEPT, secret, signed=True)

    def _accounting_status(self, request: Request, secret: Secret, _begun: float) -> bytes:
        return request.reply(ACCOUNTING_RESPONSE, secret, signed=True)

    def _account(self, request: Request, secret: Secret, _begun: float) -> bytes:
        status = request.value(ACCT_STATUS_TYPE)
        if status is None:
            raise Malformed
        if status in (START, STOP):
            call_id = told_in_class(request) or _call_id(request)
            if call_id is None:
                raise Malformed
            (self._roll.joined if status == START else self._roll.left)(call_id)
        return request.reply(ACCOUNTING_RESPONSE, secret, signed=False)


_Check: TypeAlias = Callable[[Request, Secret], bytes]
_Decide: TypeAlias = Callable[[Request, Secret, float], bytes]
_Service: TypeAlias = tuple[_Check, _Decide]
"""What proves a request of one code, and what answers it. The float is when it came, as `perf_counter` tells it."""


def _signed(request: Request, secret: Secret) -> bytes:
    """What proves a request that must have a Message-Authenticator: 16 bytes over all of it. Raises Dropped."""
    signature = request.signature
    if signature is None:
        raise Dropped("not_signed")
    if not request.has_signature_of(secret):
        raise Dropped("wrong_secret")
    return signature


def _authentic(request: Request, secret: Secret) -> bytes:
    """What proves a request of accounting: 16 bytes over all of it. Raises Dropped."""
    if not request.has_authenticator_of(secret):
        raise Dropped("wrong_secret")
    return request.authenticator


def _keyed(value: bytes) -> str:
    """What a caller keyed. One character too many is kept, so that it is not taken for something shorter."""
    return _text(value, MAX_KEYED + 1)


def _text(value: bytes, most: int) -> str:
    return value.decode("utf-8", "replace")[:most]


def _call_id(request: Request) -> str | None:
    """The switch's ID of the call; Cisco's gateways put the attribute's name and a `=` before its value."""
    value = (request.cisco(H323_CONF_ID) or b"").removeprefix(b"h323-conf-id=")
    return _text(value or request.value(ACCT_SESSION_ID) or b"", MAX_TOLD) or None


_Source: TypeAlias = tuple[Address, int]
"""Where a request came from, and its identifier."""


class _Remembered:
    """The last replies: a retransmission gets the same bytes, and counts once.

    One for each source and identifier: who uses an identifier anew has the last reply, or no longer wants it. What was
    asked is known by its proof, which is over all of it: a gateway whose authenticators repeat must not get for one
    caller what another was answered.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._replies: OrderedDict[_Source, tuple[float, bytes, bytes]] = OrderedDict()

    def reply(self, source: _Source, proof: bytes) -> bytes | None:
        """The reply that this very request was given, if that was not long ago."""
        found = self._replies.get(source)
        if found is None:
            return None
        until, given_to, reply = found
        return reply if given_to == proof and self._clock() < until else None

    def keep(self, source: _Source, proof: bytes, reply: bytes) -> None:
        """Remember this reply."""
        now, replies = self._clock(), self._replies
        replies[source] = (now + _REMEMBERED, proof, reply)
        replies.move_to_end(source)
        while len(replies) > _MOST or next(iter(replies.values()))[0] <= now:
            replies.popitem(last=False)


@asynccontextmanager
async def serving(settings: Radius, surroundings: Surroundings) -> AsyncGenerator[int]:
    """The door open at both ports; at the end what has come is answered. The port for authentication.

    Raises SettingsError and PortError.
    """
    door = RadiusDoor(surroundings, Clients.read(settings.clients_file))
    host = settings.host
    async with (
        answering(
            door.accounting, "doors.radius.accounting_port", host, settings.accounting_port, surroundings
        ) as accounting_port,
        answering(door.authentication, "doors.radius.port", host, settings.port, surroundings) as port,
    ):
        log.info("radius_accounting_opened", port=accounting_port)
        yield port
