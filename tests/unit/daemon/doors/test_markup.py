"""XML and ECMAScript that hold anything."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.doors.markup import document, ecmascript, element, legal
from tests.unit.daemon.doors.vxml_browser import unescaped

ANY = st.text(st.characters(exclude_categories=()), max_size=30)


@given(ANY)
@example("\0\x1f\x7f\x85\ud800\udfff\ufffe\uffff\U0001f600]]>")
def test_a_document_holds_any_text_but_what_xml_cannot_hold(text: str) -> None:
    made = ET.fromstring(document(element("a", {"b": text}, text, element("c", None, text))))
    assert made.attrib == {"b": legal(text)}
    for part in (made, made[0]):
        # A lone carriage return is a line end to whoever reads: XML 1.0, section 2.11.
        assert part.text == (legal(text).replace("\r\n", "\n").replace("\r", "\n") or None)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\t\n\r x\x7f\u2028\ufffd\U0010ffff", "\t\n\r x\x7f\u2028\ufffd\U0010ffff"),
        ("\0\x08\x0b\x0c\x1f\ud800\ufffe\uffff", ""),
    ],
)
def test_only_what_xml_cannot_hold_is_left_out(text: str, left: str) -> None:
    assert legal(text) == left


@given(ANY)
@example("'\"\\</>&\u2028\u2029\r\n\0")
def test_a_literal_stands_for_its_string_and_ends_nothing_early(text: str) -> None:
    literal = ecmascript(text)
    assert literal.isascii()
    assert literal.isprintable()
    assert literal[0] == literal[-1] == "'"
    assert not set(literal[1:-1]) & set("'<>&")
    assert unescaped(literal[1:-1]) == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
