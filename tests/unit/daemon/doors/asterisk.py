"""Stands for Asterisk on the other side of FastAGI: does commands as `res_agi.c` does, for a caller who keys by plan."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

KEYS: Final = (
    "network network_script request channel language type uniqueid version callerid calleridname callingpres "
    "callingani2 callington callingtns dnid rdnis context extension priority enhanced accountcode threadid"
).split()
TOLD: Final[Mapping[str, str]] = {
    "network": "yes",
    "network_script": "verify",
    "request": "agi://127.0.0.1/verify",
    "channel": "PJSIP/trunk-00000007",
    "language": "en",
    "type": "PJSIP",
    "uniqueid": "1732456800.17",
    "version": "22.10.1",
    "callerid": "+15550100",
    "calleridname": "Mike Doe",
    "callingpres": "0",
    "callingani2": "0",
    "callington": "0",
    "callingtns": "0",
    "dnid": "100",
    "rdnis": "unknown",
    "context": "incoming",
    "extension": "100",
    "priority": "5",
    "enhanced": "0.0",
    "accountcode": "",
    "threadid": "139823172847360",
}
USAGE: Final = (
    "520-Invalid command syntax.  Proper usage follows:\n Usage: SET VARIABLE <variablename> <value>\n"
    "200 result=1\n\n520 End of proper usage.\n"
)


def environment(script: str | None = "verify", *arguments: str, **changes: str | None) -> bytes:
    """What is sent first. A change to None leaves the line out."""
    told = {**TOLD, "network_script": script, **changes}
    lines = [f"agi_{key}: {value}\n" for key, value in told.items() if value is not None]
    lines += [f"agi_arg_{number}: {argument}\n" for number, argument in enumerate(arguments, 1)]
    return ("".join(lines) + "\n").encode("utf-8", "surrogateescape")


def words(line: str) -> list[str]:
    """The words of a command, as `parse_args` parts them."""
    found: list[str] = []
    quoted = escaped = False
    between = True
    for character in line:
        if character == '"' and not escaped:
            quoted = not quoted
            if quoted and between:
                found.append("")
                between = False
        elif character in " \t" and not quoted and not escaped:
            between = True
        elif character == "\\" and not escaped:
            escaped = True
            continue
        else:
            if between:
                found.append("")
                between = False
            found[-1] += character
        escaped = False
    return found


def parted(text: str) -> list[str]:
    """What stands between commas, as `AST_STANDARD_APP_ARGS` parts it."""
    found = [""]
    parentheses = brackets = 0
    quoted = escaped = False
    for character in text:
        if escaped:
            found[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not (parentheses or brackets or quoted):
            found.append("")
        else:
            parentheses = max(0, parentheses + (character == "(") - (character == ")"))
            brackets = max(0, brackets + (character == "[") - (character == "]"))
            found[-1] += character
    return found


class HangUp(Exception):
    """The caller hangs up now."""


class Channel:
    """A caller's channel: its variables, what it has heard, and what the caller keys.

    `keys` are keyed one after another; a space is a pause that is too long, `^` before a key means that it is keyed
    while something plays that keys do not end, and `!` that the caller hangs up.
    """

    def __init__(self, keys: str = "", variables: Mapping[str, str] | None = None) -> None:
        self.keys = keys
        self.variables: dict[str, str] = dict(variables or {})
        self.heard: list[str] = []
        self.commands: list[str] = []

    @property
    def verdict(self) -> dict[str, str]:
        """What has been set, without what is empty."""
        return {
            name.removeprefix("ROLLCALL_").lower(): value
            for name, value in self.variables.items()
            if name.startswith("ROLLCALL_") and value
        }

    @property
    def is_admitted(self) -> bool:
        return self.variables.get("ROLLCALL_RESULT") == "accepted"

    def do(self, line: str) -> str:
        """The reply to a command. Raises HangUp."""
        self.commands.append(line)
        match words(line):
            case ["GET", "FULL", "VARIABLE", template]:
                value = re.sub(r"\$\{(\w+)\}", lambda name: self.variables.get(name[1], ""), template)
                return f"200 result=1 ({value})\n"
            case ["SET", "VARIABLE", name, value]:
                if name.startswith("ARRAY(") and name.endswith(")"):
                    self.variables.update(zip(name[6:-1].split(","), parted(value), strict=True))
                else:
                    self.variables[name] = value
                return "200 result=1\n"
            case ["GET", "DATA", sound, milliseconds, digits] if int(milliseconds) > 0:
                return f"200 result={self._keyed(sound, int(digits))}\n"
            case ["STREAM", "FILE", sound, escape_digits]:
                return f"200 result={self._played(sound, escape_digits)} endpos=8000\n"
        return "510 Invalid or unknown command\n"

    def _keyed(self, sound: str, most: int) -> str:
        if sound == "missing":
            return "-1"
        if sound:
            self.heard.append(sound)
        keyed = ""
        while len(keyed) < most:
            key, self.keys = self.keys[:1], self.keys[1:]
            if key == "!":
                raise HangUp
            if key in ("", " "):
                return f"{keyed} (timeout)"
            if key == "#":
                break
            keyed += key.replace("^", "")
        return keyed

    def _played(self, sound: str, escape_digits: str) -> str:
        if sound == "missing":
            return "-1"
        self.heard.append(sound)
        while self.keys.startswith("^"):
            key, self.keys = self.keys[1], self.keys[2:]
            if key in escape_digits:
                return str(ord(key))
        return "0"


Hear = Callable[[int, str], bytes | None]
"""What is sent instead of the reply to a command, by its number from 0 and its reply; None: close the connection."""


async def call(
    port: int, sent: bytes, channel: Channel, *, hear: Hear | None = None, pieces: Sequence[int] = ()
) -> Channel:
    """One `AGI()`: until the daemon closes the connection, or `hear` does.

    Fails unless each command comes whole, in one write, and after the reply to the last one. `pieces` are where the
    environment is parted into several writes.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            ends = sorted({min(end, len(sent)) for end in pieces} | {0, len(sent)})
            for start, end in pairwise(ends):
                writer.write(sent[start:end])
                await writer.drain()
                await asyncio.sleep(0)
            number = 0
            while line := await reader.read(65536):
                assert line.endswith(b"\n"), line
                assert line.count(b"\n") == 1, line
                try:
                    reply = channel.do(line.decode()[:-1])
                except HangUp:
                    reply = "200 result=-1\nHANGUP\n"
                answer: bytes | None = reply.encode() if hear is None else hear(number, reply)
                if answer is None:
                    break
                writer.write(answer)
                number += 1
    except ConnectionError:
        # The daemon had closed before all that we sent was there.
        pass
    finally:
        writer.transport.abort()
    return channel
