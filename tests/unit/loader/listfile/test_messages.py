"""Problems as sentences."""

from pathlib import Path
from string import Formatter

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po, write_po

from loader.listfile import Check, Code, Problem, check, columns, message, messages

LOCALE = Path(messages.__file__).parent.parent / "locale"
GOOD = "1234,Mike,Doe,XYZ,,,Uxbridge,UK,"


def check_lines(*lines: str, share: float = 1) -> Check:
    data = "\n".join([columns.HEADER, *lines]).encode()
    return check(data, filename="list.csv", guessable_share=share)


def test_every_code_has_a_text_that_tells_what_is_wrong_and_how_to_mend_it() -> None:
    """In one to three plain sentences, of which none is overlong."""
    assert set(messages.TEXTS) == set(Code)
    for code, texts in messages.TEXTS.items():
        for text in texts.values():
            for sentence in text[1:] if isinstance(text, messages.Plural) else text:
                assert sentence[0] in "“{" or sentence[0].isupper()
                assert sentence.endswith(".")
                assert len(sentence) <= 200
                names = {name for _, name, _, _ in Formatter().parse(sentence) if name is not None}
                assert "" not in names, code


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["1E5,Mike,Doe,XYZ,,,Uxbridge,UK,"], "The spreadsheet has turned this PIN into “1E5”, and digits are lost."),
        ([GOOD, GOOD], "The PIN “1234” is already in line 2."),
        (["12,Mike,Doe,XYZ,,,,UK,"], "“City” is empty."),
        ([GOOD + ",", GOOD + ",x"], "This line has 10 fields instead of 9."),
        (["1234"], "This line has 1 field instead of 9."),
        (["1234,Mike"], "This line has 2 fields instead of 9."),
        (['12,Mi{0}ke,Doe,XYZ,,,Uxbridge,"{found}, UK",'], "“{found}, UK” has a comma."),
        (["12,\x07,Doe,XYZ,,,Uxbridge,UK,"], "“First Name” holds an invisible character (U+0007)."),
        (["12," + "x" * 1_200 + ",Doe,XYZ,,,Uxbridge,UK,"], "“First Name” has 1,200 characters, at most 200 are allowed."),
    ],
)  # fmt: skip
def test_a_message_names_what_is_wrong_in_this_file(lines: list[str], expected: str) -> None:
    """With the column's title, the cell, and the number; braces in a cell are only braces."""
    assert message(check_lines(*lines).errors[-1]).startswith(expected)


def test_line_numbers_are_written_as_editors_write_them() -> None:
    """Without a separator between thousands, unlike counts."""
    duplicate = Problem(Code.PIN_DUPLICATE, 9001, columns.PIN, {"found": "12", "first_line": 8001})
    assert "line 8001." in message(duplicate)
    too_many = Problem(Code.TOO_MANY_ENTRIES, None, None, {"count": 9000, "max": 8000})
    assert "9,000 entries, at most 8,000" in message(too_many)


@pytest.mark.parametrize("language", ["en", "en_GB", "tlh", "", "../../etc", "xx-YY", "zh-Hant-TW"])
def test_a_language_without_a_catalogue_is_told_in_english(language: str) -> None:
    """Whatever a browser says that it prefers."""
    assert message(Problem(Code.COLUMN_COUNT, 3, None, {"why": "blank"}), language) == "This line is empty. Delete it."


def test_a_language_with_a_catalogue_is_told_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its plurals and its numbers."""
    catalogue = Catalog("fr", domain=messages.DOMAIN)
    entry = messages.TEXTS[Code.TOO_MANY_ENTRIES][""]
    assert isinstance(entry, messages.Plural)
    catalogue.add((entry.singular, entry.plural), ("{count} ligne, {max} au plus", "{count} lignes, {max} au plus"))
    folder = tmp_path / "fr" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / f"{messages.DOMAIN}.po").open("wb") as output:
        write_po(output, catalogue)
    monkeypatch.setattr(messages, "CATALOGUES", tmp_path)
    messages._catalogue.cache_clear()
    try:
        too_many = Problem(Code.TOO_MANY_ENTRIES, None, None, {"count": 9000, "max": 8000})
        assert message(too_many, "fr-CA").replace("\xa0", " ").replace("\u202f", " ") == "9 000 lignes, 8 000 au plus"
        assert message(Problem(Code.FILE_EMPTY), "fr").startswith("The file is empty.")
    finally:
        messages._catalogue.cache_clear()


def test_the_template_of_the_catalogues_is_up_to_date() -> None:
    """The command in the docstring of loader.listfile.messages brings it up to date."""
    keywords = {**DEFAULT_KEYWORDS, "Text": None, "Plural": (2, 3)}
    in_code = {found[2] for found in extract_from_dir(LOCALE.parent, keywords=keywords)}
    with (LOCALE / "rollcall.pot").open("rb") as template:
        assert {entry.id for entry in read_po(template) if entry.id} == in_code


def test_every_text_is_extracted() -> None:
    """No text is built from pieces, which a translator would not see."""
    with (LOCALE / "rollcall.pot").open("rb") as template:
        extracted = {entry.id for entry in read_po(template)}
    for texts in messages.TEXTS.values():
        for text in texts.values():
            assert (text[1:] if isinstance(text, messages.Plural) else text.msgid) in extracted
