"""FreeSWITCH as its mod_httapi is: a channel that asks, does what the documents say, and tells when it is over.

Facts from `src/mod/applications/mod_httapi/mod_httapi.c` and `src/switch_ivr_async.c` (1.11.2), by function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from urllib.parse import quote
from xml.etree import ElementTree as ET

from tests.unit.daemon.doors.platforms import BASIC, CALLER, Door, request

_COMMON = {"action", "temp-action"}
_INPUT = {"name", "error-file", "digit-timeout", "input-timeout", "terminators", "loops"}
ATTRIBUTES = {
    "execute": {"application", "data"},
    "dial": {"context", "dialplan", "caller-id-name", "caller-id-number"},
    "sms": {"to"},
    "pause": {"milliseconds"} | _INPUT,
    "answer": {"is-conference"},
    "preAnswer": set(),
    "ringReady": set(),
    "hangup": {"cause"},
    "record": {"file", "name", "error-file", "beep-file", "digit-timeout", "terminators", "limit", "silence-hits"},
    "recordCall": {"limit", "name"},
    "playback": {"file", "asr-engine", "asr-grammar"} | _INPUT,
    "vmName": {"id", "language", "gender"} | _INPUT,
    "speak": {"engine", "voice", "text", "file"} | _INPUT,
    "say": {"language", "type", "method", "gender", "text", "file"} | _INPUT,
    "conference": {"profile", "pin", "flags"},
    "break": set(),
    "log": {"level", "clean"},
    "continue": set(),
    "getVariable": {"name", "permanent"},
    "voicemail": {"check", "auth-only", "profile", "domain", "id"},
}
"""The tags that `mod_httapi_load` binds, and what their parsers look at; :data:`_COMMON` is `parse_common`."""
CAUSES = {"", "NORMAL_TEMPORARY_FAILURE"}
"""Those of `switch_channel_str2cause` that are used."""
UNREAD = 1023
"""`parse_xml` takes a buffer that is filled to its last byte for an empty one; seen with a real FreeSWITCH."""


class Caller(Enum):
    """What a caller may do instead of keying."""

    HANGS_UP = "hangs up"


class Channel:
    """One call. `keyed` is what the caller keys at each question; after the last he is silent.

    `stays` is whether he stays in the conference until he is put out of it, else he hangs up there.
    """

    def __init__(
        self,
        door: Door,
        keyed: Iterable[str | Caller] = (),
        *,
        stays: bool = False,
        uuid: str = "6cb67387-1667-42ac-83ae-e603d8771a31",
        name: str = "Handset",
        authorization: str = BASIC,
        denied: Iterable[str] = (),
    ) -> None:
        self.door, self.uuid, self.authorization = door, uuid, authorization
        self.denied = set(denied)
        self.name = name
        self.played: list[str] = []
        self.logged: list[str] = []
        self.conference = ""
        self.hung_up = ""
        """Why the door has ended the call."""
        self.in_dialplan = False
        """Whether the application has ended and the call has not."""
        self.requests = 0
        self.bodies: list[bytes] = []
        self._keyed = iter(keyed)
        self._ahead = ""
        self._stays = stays
        self._up = True
        self._params = {
            "httapi_profile": "rollcall",
            "hostname": "switch.example.com",
            "Caller-Direction": "inbound",
            "Caller-Caller-ID-Name": name,
            "Caller-Caller-ID-Number": CALLER,
            "Caller-Unique-ID": uuid,
            "url": f"http://127.0.0.1:{door.port}/httapi",
        }

    async def run(self) -> Channel:
        """From the application's start to the call's end (`httapi_function`, `my_on_reporting`)."""
        once: dict[str, str] = {}
        while self._up:
            body = await self._sync(once)
            once = {}
            if not self._works(body, once):
                break
        self.in_dialplan = self._up
        await self._sync(once | {"exiting": "true"})
        return self

    async def _sync(self, once: dict[str, str]) -> bytes:
        self.requests += 1
        assert self.requests < 40, "no call takes as many questions"
        # The order of `httapi_sync`: the session's ID on top, then parameters, then what is told once.
        fields = {"session_id": self.uuid, **self._params, **once}
        body = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items()).encode()
        self.bodies.append(body)
        answer = await self.door.ask(request("POST", "/httapi", body, authorization=self.authorization))
        assert answer.status == 200, "nothing else is read"
        assert answer.headers["content-type"] == "text/xml", "nothing else is read"
        assert len(answer.body) != UNREAD
        assert b"\0" not in answer.body
        return answer.body

    def _works(self, body: bytes, once: dict[str, str]) -> bool:
        """`parse_xml`: whether the application goes on."""
        for tag in checked(body):
            if tag.tag == "params" and "set-params" not in self.denied:
                self._params |= {param.tag: param.text for param in tag if param.text}
        (work,) = (tag for tag in checked(body) if tag.tag == "work")
        return all(self._works_on(tag, once) for tag in work)

    def _works_on(self, tag: ET.Element, once: dict[str, str]) -> bool:
        match tag.tag:
            case "playback" | "pause":
                self.played += [tag.get("file", "")] if tag.tag == "playback" else []
                return self._listen(tag, once) if len(tag) else True
            case "log":
                assert tag.get("level") in ("ERR", "WARNING", "NOTICE", "INFO", "DEBUG")
                self.logged.append(tag.text or "")
                return True
            case "execute":
                return self._execute(tag)
            case "conference":
                return self._enter(tag.text or "")
            case "hangup":
                self._up, self.hung_up = False, tag.get("cause", "") or "NORMAL_CLEARING"
                return False
            case "break":
                return False
            case "continue":
                return True
        raise AssertionError(tag.tag)

    def _listen(self, tag: ET.Element, once: dict[str, str]) -> bool:
        keyed = self._ahead or next(self._keyed, "")
        self._ahead = ""
        if isinstance(keyed, Caller):
            self._up = False
            return False
        digits, self._ahead = matched(keyed, [bind.text or "" for bind in tag])
        if digits:
            strip = tag[0].get("strip", "")
            told = digits.partition(strip)[0] if strip else digits
            once |= {tag.get("name", "dialed_digits"): told, "input_type": "dtmf"} if told else {"input_type": "dtmf"}
        return True

    def _execute(self, tag: ET.Element) -> bool:
        data = tag.get("data") or tag.text or ""
        if "execute-apps" in self.denied or "$" in data:
            self._up, self.hung_up = False, "DESTINATION_OUT_OF_ORDER"
            return False
        assert tag.get("application") == "set_profile_var", "what the shipped configuration permits"
        assert "\\" not in data
        name, _, value = data.partition("=")
        assert name == "caller_id_name"
        self.name = value
        return True

    def _enter(self, name: str) -> bool:
        """`parse_conference` and `conference_function`: what a name must not hold lest it says something else."""
        if "conference" in self.denied:
            self._up, self.hung_up = False, "DESTINATION_OUT_OF_ORDER"
            return False
        assert re.fullmatch(r"[A-Za-z0-9_.~%-]+", name)
        self.conference = name
        self._up = self._stays
        return True


def matched(keyed: str, bindings: list[str]) -> tuple[str, str]:
    """What a digit machine (`switch_ivr_dmachine_check_match`) takes of these keys, and what is left; no match is `""`.

    An expression after `=~` is taken as soon as it matches, one after `~` when no key follows or it is the only one.
    """
    regexes = [(text.startswith("="), text.removeprefix("=").removeprefix("~")) for text in bindings]
    assert all(text.removeprefix("=").startswith("~") for text in bindings)
    for end in range(1, len(keyed) + 1):
        for at_once, regex in regexes:
            if (at_once or len(regexes) == 1) and re.search(regex, keyed[:end]):
                return keyed[:end], keyed[end:]
    return (keyed, "") if any(re.search(regex, keyed) for _, regex in regexes) else ("", "")


def checked(body: bytes) -> ET.Element:
    """The document, if it holds nothing that mod_httapi does not know."""
    root = ET.fromstring(body)
    assert (root.tag, root.attrib) == ("document", {"type": "xml/freeswitch-httapi"})
    assert [part.tag for part in root] in (["work"], ["params", "work"])
    for tag in root.iterfind("work/*"):
        assert set(tag.attrib) <= ATTRIBUTES[tag.tag] | _COMMON
        assert tag.get("cause", "") in CAUSES
        # Without a file a prompt hangs up the call, and without a name its digits would have another (`parse_playback`).
        assert tag.tag != "playback" or tag.get("file")
        for bind in tag:
            assert bind.tag == "bind"
            assert set(bind.attrib) <= {"action", "strip"}
            assert tag.get("name")
    assert len(root.find("work") or ()) > 0, "`parse_xml` complains of a document without work"
    return root
