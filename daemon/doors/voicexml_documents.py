"""The documents of the VoiceXML door. Sections are those of VoiceXML 2.0, https://www.w3.org/TR/voicexml20/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from xml.etree.ElementTree import Element

from daemon.doors.dialogue import Prompt
from daemon.doors.markup import document, ecmascript, element
from daemon.doors.spoken import LOCALES, is_recording, said
from daemon.verify import ACCEPTED, REJECTED
from loader.door_sections import SpokenPrompts, VoiceXml
from loader.index import MAX_KEYED

SUBMITTED: Final = ("call_id", "caller", "state", "digits")
"""What a platform posts."""
RETURNED: Final[Mapping[str, str]] = {
    "result": "error",
    "reason": "unavailable",
    "first_name": "",
    "last_name": "",
    "company": "",
    "conference_id": "",
    "level": "",
    "retry_after": "",
    "transfer_to": "",
    "call_id": "",
}
"""What the subdialog returns, and with which values it begins."""
HUNG_UP: Final = "hung_up"
"""The reason why a dialogue ended in which the caller hung up."""

_NAMELIST: Final = {"namelist": " ".join(RETURNED)}
_EXCUSE: Final = (Prompt.UNAVAILABLE, Prompt.GOODBYE)
_ANYWHERE: Final = {"event": "error connection.disconnect"}
_KEYS: Final = "0123456789*"

# Which variables of a session there are depends on the platform, and to read one that is not defined is an error
# (section 5.1.4). No standard names the call's own ID; these two do on many platforms.
_CALL_IDS: Final = ("session.callid", "session.sessionid")
_CALLER: Final = "session.connection.remote.uri"


def known(variable: str, otherwise: str) -> str:
    """An expression for a variable, or for another expression where it, or what it is a part of, is not or is empty."""
    parts = variable.split(".")
    paths = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    conditions = " && ".join((*(f"typeof {path} != 'undefined'" for path in paths), variable))
    return f"{conditions} ? {variable} : {otherwise}"


class Documents:
    """The documents in one language. `heard` is the address that answers are submitted to."""

    def __init__(self, settings: VoiceXml, language: str, heard: str) -> None:
        self._settings = settings
        self._language = language
        self._waits = _waits(settings.fetch_timeout)
        self._submit = {"next": heard, "method": "post", "namelist": " ".join(SUBMITTED), **self._waits}
        self._properties = {
            "inputmodes": "dtmf",
            "termchar": "#",
            "timeout": _duration(settings.input_timeout),
            "interdigittimeout": _duration(settings.digit_timeout),
            **self._waits,
        }

    def first(self, say: Iterable[Prompt], call_id: str) -> bytes:
        """Asks for the passcode. The caller of the subdialog may give `call_id` and `caller` as parameters; else they
        are what the session tells, and `call_id` this one if it tells none.
        """
        expression = ecmascript(call_id)
        for variable in reversed(_CALL_IDS):
            expression = known(variable, expression)
        return self._ask(say, expression, known(_CALLER, ecmascript("")), "")

    def asking(self, say: Iterable[Prompt], call_id: str, caller: str, state: str) -> bytes:
        """Asks for what comes next."""
        return self._ask(say, ecmascript(call_id), ecmascript(caller), state)

    def ending(self, say: Iterable[Prompt], told: Mapping[str, str]) -> bytes:
        """Says this, and returns what is told beside the values that all begin with."""
        values = {**RETURNED, **told}
        return self._document(
            element(
                "form",
                None,
                *_variables({name: ecmascript(value) for name, value in values.items()}),
                element("catch", _ANYWHERE, element("return", _NAMELIST)),
                element("block", None, *self._prompts(say), element("return", _NAMELIST)),
            )
        )

    def excuse(self) -> bytes:
        """Says that nothing can be decided, and ends the call: what a refused request is answered with."""
        return self._document(element("form", None, element("block", None, *self._prompts(_EXCUSE), element("exit"))))

    def dialogue(self, subdialog: str, *, transfers: bool) -> bytes:
        """The whole dialogue: the subdialog, and then the transfer, or an exit with what was returned."""
        accepted = {"cond": f"rollcall.result == {ecmascript(ACCEPTED)}"}
        refused = {"cond": f"rollcall.result != {ecmascript(ACCEPTED)}"}
        asked = element("subdialog", {"name": "rollcall", "src": subdialog, "maxage": "0", **self._waits})
        if transfers:
            onward = element(
                "transfer", {"name": "onward", "destexpr": "rollcall.transfer_to", "bridge": "false", **accepted}
            )
        else:
            told = [element("assign", {"name": name, "expr": f"rollcall.{name}"}) for name in RETURNED]
            onward = element("block", accepted, *told, element("exit", _NAMELIST))
        return self._document(
            *_properties(self._waits),
            element("catch", {"event": "connection.disconnect"}, element("exit")),
            element("catch", {"event": "error"}, *self._prompts(_EXCUSE), element("disconnect")),
            element(
                "form",
                None,
                *_variables({name: ecmascript(value) for name, value in RETURNED.items()}),
                asked,
                element("block", refused, element("disconnect")),
                onward,
            ),
        )

    def _ask(self, say: Iterable[Prompt], call_id: str, caller: str, state: str) -> bytes:
        values = {name: ecmascript(value) for name, value in RETURNED.items()}
        values |= {"call_id": call_id, "caller": caller, "state": ecmascript(state)}
        nothing = element("assign", {"name": "digits", "expr": ecmascript("")})
        hung_up = {"result": REJECTED, "reason": HUNG_UP}
        return self._document(
            *_properties(self._properties),
            element(
                "form",
                None,
                *_variables(values),
                element("catch", {"event": "error"}, *self._prompts(_EXCUSE), element("return", _NAMELIST)),
                element(
                    "catch",
                    {"event": "connection.disconnect"},
                    *(element("assign", {"name": name, "expr": ecmascript(value)}) for name, value in hung_up.items()),
                    element("return", _NAMELIST),
                ),
                element(
                    "field",
                    {"name": "digits"},
                    _grammar(),
                    *self._prompts(say),
                    element("noinput", None, nothing, element("submit", self._submit)),
                    element("nomatch", None, nothing, element("submit", self._submit)),
                    element("filled", None, element("submit", self._submit)),
                ),
            ),
        )

    def _prompts(self, say: Iterable[Prompt]) -> list[Element]:
        return [element("prompt", None, self._said(prompt)) for prompt in say]

    def _said(self, prompt: Prompt) -> str | Element:
        text = said(prompt, self._language, self._settings.prompts)
        if not is_recording(text):
            return text
        # What stands inside is read where the recording cannot be had: section 4.1.3.
        return element("audio", {"src": text}, said(prompt, self._language, SpokenPrompts()))

    def _document(self, *content: Element) -> bytes:
        attributes = {
            "version": "2.1",
            "xmlns": "http://www.w3.org/2001/vxml",
            "xml:lang": LOCALES[self._language],
        }
        return document(element("vxml", attributes, *content))


def _variables(values: Mapping[str, str]) -> list[Element]:
    return [element("var", {"name": name, "expr": expression}) for name, expression in values.items()]


def _properties(values: Mapping[str, str]) -> list[Element]:
    return [element("property", {"name": name, "value": value}) for name, value in values.items()]


def _grammar() -> Element:
    """One to so many keys, in the XML form of SRGS 1.0: `builtin:` grammars are optional on platforms."""
    keys = element("one-of", None, *(element("item", None, key) for key in _KEYS))
    return element(
        "grammar",
        {"mode": "dtmf", "version": "1.0", "root": "keys", "type": "application/srgs+xml"},
        element(
            "rule",
            {"id": "keys", "scope": "public"},
            element("item", {"repeat": f"1-{MAX_KEYED + 1}"}, element("ruleref", {"uri": "#key"})),
        ),
        element("rule", {"id": "key"}, keys),
    )


def _waits(fetch_timeout: float) -> dict[str, str]:
    return {"fetchtimeout": _duration(fetch_timeout)}


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"
