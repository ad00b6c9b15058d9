"""Packets of RADIUS: bytes become a request, and attributes become a reply. Pure.

RFC 2865 (packets, User-Password), RFC 2866 (accounting), RFC 2869 section 5.14 (Message-Authenticator) and RFC 5997
(Status-Server). The numbers of the attributes stand in `radius.dictionary`, which pyrad reads. Its packets are what the
tests hold these against, and are not used here: see docs/decisions/0010-radius-packets.md.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import md5 as _md5
from hmac import compare_digest
from pathlib import Path
from typing import Final

from pyrad.dictionary import Dictionary

ACCESS_REQUEST: Final = 1
ACCESS_ACCEPT: Final = 2
ACCESS_REJECT: Final = 3
ACCOUNTING_REQUEST: Final = 4
ACCOUNTING_RESPONSE: Final = 5
STATUS_SERVER: Final = 12

DICTIONARY: Final = Path(__file__).with_name("radius.dictionary")
_names: Final = Dictionary(str(DICTIONARY))


def _number(name: str) -> int:
    number: int = _names.attributes[name].code
    return number


USER_NAME: Final = _number("User-Name")
USER_PASSWORD: Final = _number("User-Password")
CHAP_PASSWORD: Final = _number("CHAP-Password")
REPLY_MESSAGE: Final = _number("Reply-Message")
CLASS: Final = _number("Class")
CALLING_STATION_ID: Final = _number("Calling-Station-Id")
ACCT_STATUS_TYPE: Final = _number("Acct-Status-Type")
ACCT_SESSION_ID: Final = _number("Acct-Session-Id")
EAP_MESSAGE: Final = _number("EAP-Message")
CISCO_AVPAIR: Final = _number("Cisco-AVPair")
H323_CONF_ID: Final = _number("h323-conf-id")
H323_RETURN_CODE: Final = _number("h323-return-code")
_VENDOR_SPECIFIC: Final = _number("Vendor-Specific")
_PROXY_STATE: Final = _number("Proxy-State")
_MESSAGE_AUTHENTICATOR: Final = _number("Message-Authenticator")

START: Final[bytes] = _names.attributes["Acct-Status-Type"].values.GetForward("Start")
STOP: Final[bytes] = _names.attributes["Acct-Status-Type"].values.GetForward("Stop")

MAX_PACKET: Final = 4096
"""Bytes of a packet: RFC 2865, section 3."""
MAX_VALUE: Final = 253
"""Bytes of an attribute's value: RFC 2865, section 5."""
MAX_CISCO_VALUE: Final = 247
"""Bytes of the value of an attribute of Cisco's, which stands within another: RFC 2865, section 5.26."""

_HEAD: Final = struct.Struct("!BBH")
_HEAD_SIZE: Final = 20
_HASH_SIZE: Final = 16
_EMPTY: Final = _md5()
"""To be copied: to begin a sum takes longer than to go on with one."""
_BLOCK_SIZE: Final = 64
_ZEROS: Final = bytes(_HASH_SIZE)
_CISCO: Final = struct.pack("!L", _names.vendors.GetForward("Cisco"))
_SIGNED_HEAD: Final = bytes((_MESSAGE_AUTHENTICATOR, 2 + _HASH_SIZE))
_SIGNED_SIZE: Final = len(_SIGNED_HEAD) + _HASH_SIZE


class Malformed(Exception):
    """A datagram is no packet, or one that may not be: RFC 2865 has it dropped without an answer."""


class Secret:
    """What a client shares with us, and what is computed with it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        # Each sum is begun once and copied. So HMAC (RFC 2104) takes half as long as with the module `hmac`.
        self._begun = _md5(secret)
        key = secret if len(secret) <= _BLOCK_SIZE else _md5(secret).digest()
        block = key.ljust(_BLOCK_SIZE, b"\0")
        self._inner = _md5(bytes(byte ^ 0x36 for byte in block))
        self._outer = _md5(bytes(byte ^ 0x5C for byte in block))

    def signature(self, data: bytes) -> bytes:
        """The Message-Authenticator (HMAC-MD5) of a packet in which zeros stand in its place."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()

    def authenticator(self, data: bytes) -> bytes:
        """The authenticator of a reply or of an accounting request, of its bytes without it."""
        begun = _EMPTY.copy()
        begun.update(data + self._secret)
        return begun.digest()

    def revealed(self, hidden: bytes, authenticator: bytes) -> bytes:
        """A User-Password as it was before it was hidden, without the zeros that fill it up: RFC 2865, section 5.2.

        Raises Malformed unless it has 16 to 128 bytes, in steps of 16.
        """
        if not hidden or len(hidden) % _HASH_SIZE or len(hidden) > 128:
            raise Malformed
        password, last = b"", authenticator
        for at in range(0, len(hidden), _HASH_SIZE):
            pad = self._begun.copy()
            pad.update(last)
            last = hidden[at : at + _HASH_SIZE]
            plain = int.from_bytes(last) ^ int.from_bytes(pad.digest())
            password += plain.to_bytes(_HASH_SIZE)
        return password.rstrip(b"\0")


class Request:
    """A packet that was received. `authenticator` is the Request Authenticator, whatever it is worth."""

    __slots__ = ("_at", "_packet", "_values", "authenticator", "code", "identifier")

    def __init__(self, packet: bytes, values: Mapping[int, list[bytes]], signature_at: int) -> None:
        self._packet, self._values, self._at = packet, values, signature_at
        self.code = packet[0]
        self.identifier = packet[1]
        self.authenticator = packet[4:_HEAD_SIZE]

    @property
    def signature(self) -> bytes | None:
        """The Message-Authenticator, if there is one."""
        return self._packet[self._at : self._at + _HASH_SIZE] if self._at else None

    def has_signature_of(self, secret: Secret) -> bool:
        """Whether the Message-Authenticator was made with this secret. Only for requests that have one."""
        packet, at = self._packet, self._at
        end = at + _HASH_SIZE
        return compare_digest(packet[at:end], secret.signature(packet[:at] + _ZEROS + packet[end:]))

    def has_authenticator_of(self, secret: Secret) -> bool:
        """Whether the Request Authenticator was made with this secret, as accounting has it: RFC 2866, section 3."""
        packet = self._packet
        return compare_digest(self.authenticator, secret.authenticator(packet[:4] + _ZEROS + packet[_HEAD_SIZE:]))

    def values(self, number: int) -> Sequence[bytes]:
        """The values of an attribute, in order."""
        return self._values.get(number, ())

    def value(self, number: int) -> bytes | None:
        """The value of an attribute that may stand once. Raises Malformed if it stands more than once."""
        found = self._values.get(number)
        if found is None:
            return None
        if len(found) > 1:
            raise Malformed
        return found[0]

    def cisco(self, number: int) -> bytes | None:
        """The first value of one of Cisco's attributes. Vendors' attributes that cannot be read are passed over."""
        for value in self._values.get(_VENDOR_SPECIFIC, ()):
            if not value.startswith(_CISCO):
                continue
            at = len(_CISCO)
            while at + 2 <= len(value):
                end = at + value[at + 1]
                if end < at + 2 or end > len(value):
                    break
                if value[at] == number:
                    return value[at + 2 : end]
                at = end
        return None

    def reply(self, code: int, secret: Secret, attributes: Sequence[bytes] = (), *, signed: bool) -> bytes:
        """The packet that answers this one, with all its Proxy-States: RFC 2865, section 5.33.

        A signature stands first, where nothing that an attacker chooses can come before it (CVE-2024-3596;
        draft-ietf-radext-deprecating-radius). Attributes that no packet can hold are left out, the last ones first.
        """
        states = b"".join([attribute(_PROXY_STATE, state) for state in self._values.get(_PROXY_STATE, ())])
        body = b"".join(attributes)
        room = MAX_PACKET - _HEAD_SIZE - _SIGNED_SIZE - len(states)
        if len(body) > room:
            body = _fitting(attributes, room)
        body += states
        if not signed:
            head = _HEAD.pack(code, self.identifier, _HEAD_SIZE + len(body))
        else:
            head = _HEAD.pack(code, self.identifier, _HEAD_SIZE + _SIGNED_SIZE + len(body))
            signature = secret.signature(head + self.authenticator + _SIGNED_HEAD + _ZEROS + body)
            body = _SIGNED_HEAD + signature + body
        return head + secret.authenticator(head + self.authenticator + body) + body


def parse(datagram: bytes) -> Request:
    """A datagram becomes a request; what follows the packet in it is ignored. Raises Malformed."""
    if len(datagram) < _HEAD_SIZE:
        raise Malformed
    length = datagram[2] << 8 | datagram[3]
    if not _HEAD_SIZE <= length <= min(len(datagram), MAX_PACKET):
        raise Malformed
    packet = datagram[:length]
    values: dict[int, list[bytes]] = {}
    signature_at = 0
    at = _HEAD_SIZE
    while at < length:
        if at + 2 > length:
            raise Malformed
        number = packet[at]
        begin, end = at + 2, at + packet[at + 1]
        if not begin <= end <= length:
            raise Malformed
        if number == _MESSAGE_AUTHENTICATOR:
            if signature_at or end != at + _SIGNED_SIZE:
                raise Malformed
            signature_at = begin
        elif number in values:
            values[number].append(packet[begin:end])
        else:
            values[number] = [packet[begin:end]]
        at = end
    return Request(packet, values, signature_at)


def attribute(number: int, value: bytes) -> bytes:
    """An attribute of at most 253 bytes: what is longer is cut off, between two characters of UTF-8 if it is that."""
    if len(value) > MAX_VALUE:
        value = _cut(value, MAX_VALUE)
    return bytes((number, 2 + len(value))) + value


def cisco(number: int, value: bytes) -> bytes:
    """An attribute of Cisco's, of at most 247 bytes: what is longer is cut off as in :func:`attribute`."""
    if len(value) > MAX_CISCO_VALUE:
        value = _cut(value, MAX_CISCO_VALUE)
    size = len(value)
    return b"%c%c%b%c%c%b" % (_VENDOR_SPECIFIC, 8 + size, _CISCO, number, 2 + size, value)


def _cut(value: bytes, size: int) -> bytes:
    """At most so many bytes from the front."""
    # A character of UTF-8 has at most three bytes after its first, and those begin with the bits 10.
    end = next((end for end in range(size, size - 4, -1) if value[end] & 0xC0 != 0x80), size)
    return value[:end]


def _fitting(attributes: Sequence[bytes], room: int) -> bytes:
    fitting = b""
    for one in attributes:
        if len(fitting) + len(one) > room:
            break
        fitting += one
    return fitting
