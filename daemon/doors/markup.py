"""XML for switches that is well-formed whatever it holds, and strings of ECMAScript that can stand in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element, tostring

_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even as a reference: its section 2.2."""
_SPECIAL: Final = str.maketrans({character: f"\\u{ord(character):04x}" for character in "'<>&"})


def legal(text: str) -> str:
    """The text without the characters that XML 1.0 cannot hold."""
    return _ILLEGAL.sub("", text)


def element(tag: str, attributes: Mapping[str, str] | None = None, *content: str | Element) -> Element:
    """An element with these attributes, and with elements or, first, a text in it."""
    made = Element(tag, {name: legal(value) for name, value in (attributes or {}).items()})
    for part in content:
        if isinstance(part, str):
            made.text = legal(part)
        else:
            made.append(part)
    return made


def document(root: Element) -> bytes:
    """A whole document, in UTF-8."""
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def ecmascript(text: str) -> str:
    """A literal of ECMAScript that stands for this string.

    It is ASCII and has no quote, ampersand or bracket inside, so that it can end early neither there nor in XML.
    """
    return f"'{json.dumps(text)[1:-1].translate(_SPECIAL)}'"
