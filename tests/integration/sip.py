"""SIP on loopback: sipp as caller and as bridge, and single messages by hand for what sipp would not send."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

from tests.integration.processes import PATIENCE, wait_until
from tests.integration.programs import program

_HEAD: Final = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="caller">
  <send retrans="500"><![CDATA[
INVITE sip:{user}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: "A caller" <sip:+15550100@[local_ip]:[local_port]>;tag=caller-[call_number]
To: <sip:{user}@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
Max-Forwards: 70
{headers}Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 6000 RTP/AVP 0
]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
"""
_REFUSED: Final = """  <recv response="{status}"/>
  <send><![CDATA[
ACK sip:{user}@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
</scenario>
"""
_ACCEPTED: Final = """  <recv response="200" rrs="true"/>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
[last_From:]
[last_To:]
[last_Call-ID:]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
[last_From:]
[last_To:]
[last_Call-ID:]
CSeq: 2 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
  <recv response="200"/>
</scenario>
"""
_INVITED: Final = """<?xml version="1.0" encoding="UTF-8"?>
<scenario name="bridge">
  <recv request="INVITE" rrs="true">
    <action><ereg regexp="tag=.*" search_in="hdr" header="From:" assign_to="caller"/></action>
  </recv>
  <Reference variables="caller"/>
"""
_REPLY: Final = """  <send{attributes}><![CDATA[
SIP/2.0 {status}
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
{sequence}
Contact: <sip:bridge@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
"""
_BYE: Final = """  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
From: <sip:C-1001@[local_ip]:[local_port]>;tag=bridge-[call_number]
To: <sip:+15550100@127.0.0.1>;[$caller]
[last_Call-ID:]
CSeq: 1 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
"""


def _reply(status: str, *, tag: str = ";tag=bridge-[call_number]", sequence: str = "[last_CSeq:]") -> str:
    attributes = ' retrans="500"' if sequence != "[last_CSeq:]" or (status == "200 OK" and tag) else ""
    return _REPLY.format(attributes=attributes, status=status, tag=tag, sequence=sequence)


_TAKEN: Final = _INVITED + _reply("200 OK") + '  <recv request="ACK"/>\n'
_BRIDGES: Final = {
    "waits": _TAKEN + '  <recv request="BYE"/>\n' + _reply("200 OK", tag="") + "</scenario>\n",
    "hangs up": _TAKEN + _BYE + '  <recv response="200"/>\n</scenario>\n',
    "rings": _INVITED
    + _reply("180 Ringing")
    + '  <recv request="CANCEL"/>\n'
    + _reply("200 OK", tag="")
    + _reply("487 Request Terminated", sequence="CSeq: 1 INVITE")
    + '  <recv request="ACK"/>\n</scenario>\n',
}
"""What a bridge does with a call: it takes it and waits until the caller hangs up, takes it and hangs up, or only rings."""


class Message(NamedTuple):
    """A SIP message: its first line, and all of it."""

    first: str
    text: str

    @property
    def status(self) -> int:
        return int(self.first.split()[1])

    def header(self, name: str) -> str | None:
        """The only header with this name; None without one."""
        found = re.findall(rf"^{name}: *(.*?)\r?$", self.text, re.MULTILINE | re.IGNORECASE)
        assert len(found) <= 1, self.text
        return found[0] if found else None


def _messages(file: Path) -> list[Message]:
    """What was received, as sipp's message log tells it."""
    parts = re.split(r"^-{40,}.*$", file.read_text() if file.exists() else "", flags=re.MULTILINE)
    texts = [part.partition("received [")[2].partition("bytes :\n\n")[2].strip() for part in parts]
    return [Message(text.splitlines()[0], text) for text in texts if text]


class Calls(NamedTuple):
    """What came of calls: all messages that came back, and the seconds that they took together."""

    messages: list[Message]
    seconds: float

    @property
    def answer(self) -> Message:
        """The final answer to the only call."""
        return next(message for message in self.messages if re.match(r"SIP/2\.0 [2-6]", message.first))


def call(
    folder: Path, port: int, user: str, *, expect: int = 200, headers: str = "", count: int = 1, rate: int = 50
) -> Calls:
    """Call this user, so often and so many times a second, and hang up when it is answered.

    Fails if anything but `expect` is answered to one of the calls.
    """
    name = f"caller-{time.monotonic_ns()}"
    scenario, log = folder / f"{name}.xml", folder / f"{name}.messages"
    rest = _ACCEPTED if expect == 200 else _REFUSED
    scenario.write_text(
        _HEAD.replace("{user}", user).replace("{headers}", headers)
        + rest.replace("{user}", user).replace("{status}", str(expect))
    )
    begun = time.monotonic()
    done = subprocess.run(
        [
            program("sipp"),
            f"127.0.0.1:{port}",
            *(
                "-i",
                "127.0.0.1",
                "-p",
                str(free_udp_port()),
                "-sf",
                str(scenario),
                "-m",
                str(count),
                "-r",
                str(rate),
                "-l",
                "1000",
            ),
            *("-nostdin", "-timeout", "60", "-timeout_error", "-recv_timeout", "15000"),
            *("-trace_msg", "-message_file", str(log), "-trace_err", "-error_file", str(folder / f"{name}.errors")),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=90,
        cwd=folder,
    )
    seconds = time.monotonic() - begun
    messages = _messages(log)
    assert done.returncode == 0, Counter(message.first for message in messages) or done.stdout + done.stderr
    return Calls(messages, seconds)


class Bridge:
    """A bridge that does this with each call: see `_BRIDGES`."""

    def __init__(self, folder: Path, port: int, does: str = "waits") -> None:
        self.port = port
        self._log = folder / f"bridge-{port}.messages"
        scenario = folder / f"bridge-{port}.xml"
        scenario.write_text(_BRIDGES[does])
        self._process = subprocess.Popen(
            [
                program("sipp"),
                *("-sf", str(scenario), "-i", "127.0.0.1", "-p", str(port), "-nostdin"),
                *("-trace_msg", "-message_file", str(self._log)),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def invited(self) -> list[Message]:
        """Every INVITE that reached it."""
        return [message for message in _messages(self._log) if message.first.startswith("INVITE ")]

    def heard(self, text: str) -> bool:
        """Whether this stood in anything that it received or sent."""
        return self._log.exists() and text in self._log.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)


class Phone:
    """Sends single messages, and waits for what is answered."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(10)
        self.port: int = self._socket.getsockname()[1]
        self._other = port
        self._count = 0

    def send(self, method: str, user: str, *, headers: str = "", to_tag: str = "") -> str:
        """Send a request of a call of its own; its Call-ID."""
        self._count += 1
        call_id = f"{self._count}-{self.port}"
        self.send_within(call_id, method, user, headers=headers, to_tag=to_tag)
        return call_id

    def send_within(
        self,
        call_id: str,
        method: str,
        user: str,
        *,
        headers: str = "",
        to_tag: str = "",
        caller: str = "sip:+15550100@127.0.0.1",
        to: str = "",
        name_of_to: str = "To",
        sequence: int = 1,
    ) -> None:
        """Send a request of this call; `to` is the address in its first line, if it is another one than that of `user`."""
        name = call_id.encode().hex()
        tag = f";tag={to_tag}" if to_tag else ""
        address = f"sip:{user}@127.0.0.1:{self._other}"
        self._socket.send(
            (
                f"{method} {to or address} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{name}{sequence}\r\n"
                f"From: <{caller}>;tag={name}\r\n{name_of_to}: <{address}>{tag}\r\n"
                f"Call-ID: {call_id}\r\nCSeq: {sequence} {method}\r\n"
                f"Contact: <sip:caller@127.0.0.1:{self.port}>\r\nMax-Forwards: 70\r\n{headers}Content-Length: 0\r\n\r\n"
            ).encode()
        )

    def answer(self, method: str, *, at_least: int = 200) -> Message:
        """The next answer to a request with this method, the final one unless a lower status will do."""
        while True:
            text = self._socket.recv(65536).decode()
            message = Message(text.splitlines()[0], text)
            answers_it = text.startswith("SIP/2.0 ") and str(message.header("CSeq")).endswith(f" {method}")
            if answers_it and message.status >= at_least:
                return message

    def take(self, method: str) -> Message:
        """The next request with this method, which is answered with 200."""
        while True:
            text = self._socket.recv(65536).decode()
            message = Message(text.splitlines()[0], text)
            if message.first.startswith(f"{method} "):
                head = re.findall(r"^(?:Via|From|To|Call-ID|CSeq):.*\r\n", text, re.MULTILINE)
                self._socket.send(f"SIP/2.0 200 OK\r\n{''.join(head)}Content-Length: 0\r\n\r\n".encode())
                return message

    def close(self) -> None:
        self._socket.close()


class SipServer:
    """A SIP server as a process, with its log in a file."""

    def __init__(self, folder: Path, port: int, command: list[str]) -> None:
        self.port = port
        self._log = folder / f"sip-server-{port}.log"
        with self._log.open("wb") as log:
            # With a group of its own, so that nothing of it can be left.
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def answers(self) -> bool:
        """Whether it answers OPTIONS."""
        assert self._process.poll() is None, self.log
        with closing(Phone(self.port)) as phone:
            phone._socket.settimeout(0.2)
            try:
                phone.send("OPTIONS", "anybody")
                return phone.answer("OPTIONS").status == 200
            except OSError:
                return False

    def wait_until_it_answers(self) -> None:
        wait_until(lambda: self.answers)

    def stop(self) -> None:
        """Let nothing of it be left."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)


def free_udp_port() -> int:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
