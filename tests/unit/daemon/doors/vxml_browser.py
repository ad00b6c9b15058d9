"""A VoiceXML platform in small: it checks each document, and walks through it as the form interpretation algorithm does.

Sections are those of VoiceXML 2.0 (https://www.w3.org/TR/voicexml20/); what 2.1 added is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit
from xml.etree import ElementTree as ET

from tests.unit.daemon.doors.platforms import BASIC, Door, request

NAMESPACE = "{http://www.w3.org/2001/vxml}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

_EXECUTABLE = {"assign", "audio", "clear", "disconnect", "exit", "goto", "if", "log", "prompt", "return", "submit"} | {
    "reprompt",
    "script",
    "throw",
    "value",
    "var",
}
_HANDLERS = {"catch", "error", "help", "noinput", "nomatch"}
_CACHE = {"fetchhint", "fetchtimeout", "maxage", "maxstale"}
_ITEM = {"name", "cond", "expr"}
_SUBMIT = {"method", "enctype", "namelist"}
ELEMENTS: Mapping[str, tuple[set[str], set[str]]] = {
    "vxml": (
        {"version", LANG, "application"},
        _HANDLERS | {"form", "link", "menu", "meta", "property", "script", "var"},
    ),
    "property": ({"name", "value"}, set()),
    "var": ({"name", "expr"}, set()),
    "form": (
        {"id", "scope"},
        _HANDLERS | {"block", "field", "filled", "grammar", "property", "subdialog", "transfer", "var"},
    ),
    "catch": ({"event", "count", "cond"}, _EXECUTABLE),
    "noinput": ({"count", "cond"}, _EXECUTABLE),
    "nomatch": ({"count", "cond"}, _EXECUTABLE),
    "field": (
        _ITEM | {"type", "slot", "modal"},
        _HANDLERS | {"audio", "filled", "grammar", "link", "option", "prompt", "property"},
    ),
    "grammar": ({"scope", "src", "type", "mode", "version", "root", "tag-format", "weight"}, {"rule", "tag", "meta"}),
    "rule": ({"id", "scope"}, {"item", "one-of", "ruleref", "tag", "token"}),
    "item": ({"repeat", "repeat-prob", "weight"}, {"item", "one-of", "ruleref", "tag", "token"}),
    "one-of": (set(), {"item"}),
    "ruleref": ({"uri", "type", "special"}, set()),
    "prompt": ({"bargein", "bargeintype", "cond", "count", "timeout", LANG}, {"audio", "break", "value"}),
    "audio": ({"src", "expr"} | _CACHE, {"break", "value"}),
    "filled": ({"mode", "namelist"}, _EXECUTABLE),
    "block": (_ITEM, _EXECUTABLE),
    "assign": ({"name", "expr"}, set()),
    "submit": ({"next", "expr", "fetchaudio"} | _SUBMIT | _CACHE, set()),
    "return": ({"namelist", "event", "eventexpr", "message", "messageexpr"}, set()),
    "exit": ({"expr", "namelist"}, set()),
    "disconnect": ({"namelist"}, set()),
    "subdialog": (
        _ITEM | {"src", "srcexpr", "fetchaudio"} | _SUBMIT | _CACHE,
        _HANDLERS | {"filled", "param", "prompt", "property"},
    ),
    "transfer": (
        _ITEM | {"dest", "destexpr", "bridge", "type", "connecttimeout", "maxtime", "transferaudio", "aai", "aaiexpr"},
        _HANDLERS | {"filled", "grammar", "prompt", "property"},
    ),
    "param": ({"name", "expr", "value", "valuetype", "type"}, set()),
}
"""Attributes and children of what is used, from the DTD of VoiceXML 2.1 (20060322, its Appendix B)."""
EMPTY = {"property", "var", "assign", "submit", "return", "exit", "disconnect", "ruleref", "param"}
PROPERTIES = {"inputmodes", "termchar", "timeout", "interdigittimeout", "fetchtimeout"}
"""Section 6.3."""
MEDIA_TYPE = "application/voicexml+xml"


class Caller(Enum):
    """What a caller may do instead of keying."""

    HANGS_UP = "hangs up"


class Ended(NamedTuple):
    """How a call ended: by `exit`, `disconnect` or `transfer`, or a subdialog by `return`; and with which values."""

    how: str
    values: dict[str, Any]
    to: str = ""


class Thrown(Exception):
    """An event (section 5.2)."""

    def __init__(self, event: str) -> None:
        super().__init__(event)
        self.event = event


class _Returned(Exception):
    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.values = values


class _Over(Exception):
    def __init__(self, ended: Ended) -> None:
        super().__init__()
        self.ended = ended


class Submitting(Exception):
    """The next document has been fetched."""

    def __init__(self, page: ET.Element, target: str) -> None:
        super().__init__()
        self.page, self.target = page, target


class Browser:
    """One call. `keyed` is what the caller keys at each question; after the last he is silent.

    `failing` says which requests, counted from 0, get no answer. `session` are the session's variables.
    """

    def __init__(
        self,
        door: Door,
        keyed: Iterable[str | Caller] = (),
        *,
        session: Mapping[str, Any] | None = None,
        authorization: str = BASIC,
        failing: Iterable[int] = (),
        transfers: bool = True,
        parted: bool = False,
    ) -> None:
        self.door, self.authorization = door, authorization
        self.said: list[str] = []
        self.languages: set[str] = set()
        self.requests: list[tuple[str, str, bytes]] = []
        self._session = {} if session is None else {"session": dict(session)}
        self._keyed = iter(keyed)
        self._failing = set(failing)
        self._transfers = transfers
        self._parted = parted

    async def call(self, target: str = "/dialogue.vxml") -> Ended:
        """A whole call, from its first document."""
        try:
            await self._pages(await self._fetch("GET", target), target, {})
        except _Over as over:
            return over.ended
        except Thrown as thrown:
            return Ended("default handler", {"event": thrown.event})
        return Ended("no more items", {})

    async def walk(self, document: bytes) -> Ended:
        """A whole call that begins with a document of somebody else."""
        try:
            await self._pages(checked(document), "", {})
        except _Over as over:
            return over.ended
        return Ended("no more items", {})

    async def subdialog(self, target: str = "/subdialog.vxml", **params: str) -> Ended:
        """What the subdialog returns to a document of somebody else, with these parameters."""
        try:
            await self._pages(await self._fetch("GET", target), target, params)
        except _Returned as returned:
            return Ended("return", returned.values)
        except _Over as over:
            return over.ended
        except Thrown as thrown:
            return Ended("default handler", {"event": thrown.event})
        return Ended("no more items", {})

    async def _pages(self, page: ET.Element, base: str, params: Mapping[str, str]) -> None:
        """A document, and all that are submitted to from it."""
        (form,) = page.iterfind("form")
        try:
            await self._form(page, form, base, params)
        except Submitting as submitting:
            await self._pages(submitting.page, submitting.target, {})

    async def _fetch(self, method: str, target: str, body: bytes = b"") -> ET.Element:
        target = urlsplit(target)._replace(scheme="", netloc="").geturl()
        number = len(self.requests)
        self.requests.append((method, target, body))
        if number in self._failing:
            raise Thrown("error.badfetch")
        answer = await self.door.ask(request(method, target, body, authorization=self.authorization))
        if answer.status != 200:
            raise Thrown(f"error.badfetch.http.{answer.status}")
        assert answer.headers["content-type"] == MEDIA_TYPE
        return checked(answer.body)

    # The form interpretation algorithm (Appendix C)

    async def _form(self, page: ET.Element, form: ET.Element, base: str, params: Mapping[str, str]) -> None:
        self.languages.add(page.get(LANG, ""))
        scope: dict[str, Any] = {}
        for var in form.iterfind("var"):
            name = var.get("name", "")
            scope[name] = params[name] if name in params else self._value(var.get("expr", ""), scope)
        items = [item for item in form if item.tag in ("block", "field", "subdialog", "transfer")]
        filled: set[int] = set()
        while True:
            item = next(
                (
                    item
                    for at, item in enumerate(items)
                    if at not in filled and self._value(item.get("cond", "'yes'"), scope) not in (False, "")
                ),
                None,
            )
            if item is None:
                return
            filled.add(items.index(item))
            await self._visit(page, form, item, base, scope)

    async def _visit(
        self, page: ET.Element, form: ET.Element, item: ET.Element, base: str, scope: dict[str, Any]
    ) -> None:
        try:
            match item.tag:
                case "block":
                    await self._execute(item, base, scope)
                case "subdialog":
                    await self._ask_subdialog(item, base, scope)
                case "transfer":
                    assert item.get("bridge") == "false"
                    if not self._transfers:
                        raise Thrown("error.connection.noroute")
                    raise _Over(Ended("transfer", {}, self._value(item.get("destexpr", ""), scope)))
                case "field":
                    await self._field(item, base, scope)
        except Thrown as thrown:
            await self._caught(thrown, (item, form, page), base, scope)

    async def _caught(self, thrown: Thrown, scopes: tuple[ET.Element, ...], base: str, scope: dict[str, Any]) -> None:
        for level in scopes:
            for handler in level:
                if handler.tag in _HANDLERS and any(matches(event, thrown.event) for event in events(handler)):
                    return await self._handle(handler, scopes, base, scope)
        raise thrown

    async def _handle(
        self, handler: ET.Element, scopes: tuple[ET.Element, ...], base: str, scope: dict[str, Any]
    ) -> None:
        try:
            await self._execute(handler, base, scope)
        except Thrown as thrown:
            # What is thrown while the next document is fetched is still this one's (section 5.3.8).
            await self._caught(thrown, scopes, base, scope)

    async def _ask_subdialog(self, item: ET.Element, base: str, scope: dict[str, Any]) -> None:
        target = urljoin(base, item.get("src", ""))
        try:
            await self._pages(await self._fetch("GET", target), target, {})
        except _Returned as returned:
            scope[item.get("name", "")] = returned.values
        else:
            raise AssertionError("the subdialog returned nothing")

    async def _field(self, item: ET.Element, base: str, scope: dict[str, Any]) -> None:
        for prompt in item.iterfind("prompt"):
            self._say(prompt)
        keyed = next(self._keyed, "")
        if isinstance(keyed, Caller):
            raise Thrown("connection.disconnect.hangup")
        keys = keyed.partition("#")[0]
        if not keys:
            raise Thrown("noinput")
        if not re.fullmatch(accepted(item.find("grammar")), keys):
            raise Thrown("nomatch")
        scope[item.get("name", "")] = " ".join(keys) if self._parted else keys
        for block in item.iterfind("filled"):
            await self._execute(block, base, scope)

    async def _execute(self, content: ET.Element, base: str, scope: dict[str, Any]) -> None:
        for step in content:
            match step.tag:
                case "prompt":
                    self._say(step)
                case "assign":
                    assert step.get("name") in scope or step.get("name") == "digits"
                    scope[step.get("name", "")] = self._value(step.get("expr", ""), scope)
                case "submit":
                    assert step.get("method") == "post", "a PIN must not stand in an address"
                    target = urljoin(base, step.get("next", ""))
                    raise Submitting(await self._fetch("POST", target, self._form_of(step, scope)), target)
                case "return":
                    raise _Returned(self._named(step, scope))
                case "exit":
                    raise _Over(Ended("exit", self._named(step, scope)))
                case "disconnect":
                    raise _Over(Ended("disconnect", self._named(step, scope)))
                case _:
                    raise AssertionError(step.tag)

    def _form_of(self, submit: ET.Element, scope: Mapping[str, Any]) -> bytes:
        values = self._named(submit, scope)
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in values.items()).encode()

    def _named(self, step: ET.Element, scope: Mapping[str, Any]) -> dict[str, Any]:
        return {name: scope[name] for name in step.get("namelist", "").split()}

    def _say(self, prompt: ET.Element) -> None:
        audio = prompt.find("audio")
        self.said.append((prompt.text or "") if audio is None else audio.get("src", ""))

    def _value(self, expression: str, scope: Mapping[str, Any]) -> Any:
        return evaluated(expression, {**self._session, **scope})


def events(handler: ET.Element) -> list[str]:
    return handler.get("event", "").split() if handler.tag == "catch" else [handler.tag]


def matches(caught: str, event: str) -> bool:
    """A prefix that ends with the event or at one of its dots (section 5.2.4)."""
    return event == caught or event.startswith(f"{caught}.")


def accepted(grammar: ET.Element | None) -> str:
    """A grammar of SRGS 1.0 as a regular expression."""
    assert grammar is not None
    assert (grammar.get("mode"), grammar.get("version")) == ("dtmf", "1.0")
    rules = {rule.get("id", ""): rule for rule in grammar.iterfind("rule")}

    def expansion(node: ET.Element) -> str:
        match node.tag:
            case "one-of":
                return f"(?:{'|'.join(expansion(item) for item in node)})"
            case "ruleref":
                return expansion(rules[node.get("uri", "").removeprefix("#")])
        inner = re.escape(node.text.strip()) if node.text and node.text.strip() else ""
        inner += "".join(expansion(child) for child in node)
        least, _, most = node.get("repeat", "1-1").partition("-")
        return f"(?:{inner}){{{least},{most}}}"

    return expansion(rules[grammar.get("root", "")])


def checked(body: bytes) -> ET.Element:
    """The document without namespaces, if it is one of VoiceXML 2.1."""
    root = ET.fromstring(body)
    assert root.tag == f"{NAMESPACE}vxml"
    assert root.get("version") == "2.1"
    for element in root.iter():
        assert element.tag.startswith(NAMESPACE)
        element.tag = element.tag.removeprefix(NAMESPACE)
    for element in root.iter():
        attributes, children = ELEMENTS[element.tag]
        assert set(element.attrib) <= attributes, element.tag
        assert {child.tag for child in element} <= children, element.tag
        assert element.tag not in EMPTY or not (len(element) or element.text)
        assert element.tag != "property" or element.get("name") in PROPERTIES
        for name in ("fetchtimeout", "timeout"):
            assert re.fullmatch(r"[0-9]+ms|[0-9.]+s", element.get(name, "1s"))
    return root


# ECMAScript, as much of it as the documents use

_TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|(typeof\b)|([A-Za-z_][\w.]*)|(&&|==|!=|\?|:))")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\(.)")
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def evaluated(expression: str, scope: Mapping[str, Any]) -> Any:
    """The value of an expression. Raises Thrown (`error.semantic`) as section 5.2.6 says."""
    tokens = list(_tokens(expression))
    value, rest = _conditional(tokens, scope)
    assert not rest, expression
    return value()


Parsed = tuple[Callable[[], Any], list[str]]


def _tokens(expression: str) -> Iterator[str]:
    at = 0
    while at < len(expression):
        token = _TOKEN.match(expression, at)
        assert token is not None, expression
        yield token.group().strip()
        at = token.end()


def _conditional(tokens: list[str], scope: Mapping[str, Any]) -> Parsed:
    condition, rest = _both(tokens, scope)
    if rest[:1] != ["?"]:
        return condition, rest
    yes, rest = _conditional(rest[1:], scope)
    assert rest[0] == ":"
    no, rest = _conditional(rest[1:], scope)
    return lambda: yes() if condition() else no(), rest


def _both(tokens: list[str], scope: Mapping[str, Any]) -> Parsed:
    left, rest = _equality(tokens, scope)
    if rest[:1] != ["&&"]:
        return left, rest
    right, rest = _both(rest[1:], scope)
    return lambda: left() and right(), rest


def _equality(tokens: list[str], scope: Mapping[str, Any]) -> Parsed:
    left, rest = _primary(tokens, scope)
    if rest[:1] not in (["=="], ["!="]):
        return left, rest
    right, after = _primary(rest[1:], scope)
    is_equal = rest[0] == "=="
    return lambda: (left() == right()) == is_equal, after


def _primary(tokens: list[str], scope: Mapping[str, Any]) -> Parsed:
    first, rest = tokens[0], tokens[1:]
    if first.startswith("'"):
        return lambda: unescaped(first[1:-1]), rest
    if first == "typeof":
        return lambda: "undefined" if _found(rest[0], scope, at_most="last") is None else "object", rest[1:]
    return lambda: _found(first, scope), rest


def _found(path: str, scope: Mapping[str, Any], *, at_most: str = "") -> Any:
    found: Any = scope
    parts = path.split(".")
    for number, part in enumerate(parts):
        if part not in found:
            # `typeof` forgives that the last is not there, and nothing else does.
            if at_most and number == len(parts) - 1:
                return None
            raise Thrown("error.semantic")
        found = found[part]
    return found


def unescaped(literal: str) -> str:
    """What stands between the quotes of a literal; two halves of a pair are one character."""
    text = _ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else _ESCAPED.get(m[2], m[2]), literal)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
