"""Problems become sentences, in the user's language.

The English text is here; translations are gettext catalogues, `loader/locale/<language>/LC_MESSAGES/rollcall.po`.
After a text has changed, bring the template of the catalogues up to date::

    pybabel extract -k Text -k Plural:2,3 --omit-header --no-location --sort-output -o loader/locale/rollcall.pot loader
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from loader.listfile.problems import Code, Problem
from loader.model import LANGUAGES

if TYPE_CHECKING:
    from babel import Locale
    from babel.support import NullTranslations

CATALOGUES: Final = Path(__file__).parent.parent / "locale"
DOMAIN: Final = "rollcall"


class Text(NamedTuple):
    """One text, with names of a problem's parameters in braces."""

    msgid: str


class Plural(NamedTuple):
    """A text in the number that the named parameter asks for."""

    counted: str
    singular: str
    plural: str


_Texts: TypeAlias = dict[str, Text | Plural]
"""The texts of one code by the problem's `why`; `""` is for what gives none."""

TEXTS: Final[dict[Code, _Texts]] = {
    Code.FILE_EMPTY: {
        "": Text("The file is empty. It needs the header line and then one line for each person."),
        "header_only": Text("The file has a header line and no entry. Add one line for each person below the header."),
    },
    Code.FILE_TOO_LARGE: {
        "": Text("The file has {count} bytes, at most {max} are allowed. Take out people who no longer need a PIN."),
    },
    Code.TOO_MANY_ENTRIES: {
        "": Plural(
            "count",
            "The file has {count} entry, at most {max} are allowed. Take out people who no longer need a PIN.",
            "The file has {count} entries, at most {max} are allowed. Take out people who no longer need a PIN.",
        ),
    },
    Code.NOT_CSV: {
        "name": Text("The name of the file does not end in .csv. In your spreadsheet choose Save As, then CSV UTF-8."),
        "spreadsheet": Text(
            "This is a spreadsheet that was renamed to .csv. Open it in Excel, choose Save As, then CSV UTF-8."
        ),
        "archive": Text("This is a ZIP archive. Unpack it and take the CSV file that is in it."),
        "pdf": Text("This is a PDF that was renamed to .csv. Open the spreadsheet it came from and save that as CSV."),
        "document": Text(
            "This is a web page or another document that was renamed to .csv. "
            "Open the list in your spreadsheet, choose Save As, then CSV UTF-8."
        ),
        "binary": Text("This is not a text file. Open the list in your spreadsheet, choose Save As, then CSV UTF-8."),
    },
    Code.BAD_ENCODING: {
        "utf-8": Text("A character in this line is broken. Correct the line, then save the file again as CSV UTF-8."),
        "utf-8-sig": Text(
            "A character in this line is broken. Correct the line, then save the file again as CSV UTF-8."
        ),
        "utf-16": Text("A character in this line is broken. Correct the line, then save the file again as CSV UTF-8."),
        "utf-16-unmarked": Text(
            "The letters are stored in a way that cannot be read for certain (UTF-16 without a mark). "
            "Save the file again as CSV UTF-8."
        ),
        "utf-32": Text(
            "The letters are stored in a way that is not supported (UTF-32). Save the file again as CSV UTF-8."
        ),
        "windows-1252": Text(
            "A character in this line is in an unknown encoding. In your spreadsheet choose Save As, then CSV UTF-8."
        ),
    },
    Code.HEADER_INVALID: {
        "": Text(
            "The title of column {position} is “{found}”, it must be “{expected}”. "
            "The first line of the file must be the header with the nine titles in their order."
        ),
        "missing": Text(
            "Column {position} has no title, it must be “{expected}”. "
            "The first line of the file must be the header with the nine titles in their order."
        ),
        "below": Text(
            "The header is in line {header_line}, it must be the first line. "
            "Delete the lines above it, or move them below it."
        ),
        "unparted": Text(
            "All titles stand in one cell: they are parted by something other than a comma, semicolon or tab, or "
            "are in quotes together. In your spreadsheet choose Save As, then CSV UTF-8."
        ),
        "more": Text(
            "There are more than {expected} columns, the next is “{found}”. Delete the columns after “Other”."
        ),
    },
    Code.COLUMN_COUNT: {
        "blank": Text("This line is empty. Delete it."),
        "fewer": Plural(
            "count",
            "This line has {count} field instead of {expected}. Keep a place for each column, also where it is empty.",
            "This line has {count} fields instead of {expected}. Keep a place for each column, also where it is empty.",
        ),
        "cut": Text(
            "This line has {count} fields instead of {expected}. Excel leaves the last one out where “Other” is empty in "
            "many lines: write something in “Other”, such as a hyphen."
        ),
        "separator": Text(
            "The fields of this line are parted by another character than the titles in the first line. "
            "Use the same one in every line: comma, semicolon or tab."
        ),
        "more": Text(
            "This line has {count} fields instead of {expected}. "
            "Often a comma or another separator stands inside a field, as in “Acme, Inc.”: take it out."
        ),
    },
    Code.REQUIRED_MISSING: {
        "": Text("“{column}” is empty. Fill it in, every person needs one."),
        "line": Text("This line has only empty fields. Fill it in or delete it."),
    },
    Code.PIN_INVALID: {
        "other": Text("“{found}” is not a PIN. A PIN is 2 to 10 digits, nothing else."),
        "digits": Text("“{found}” is written in other digits than 0 to 9. Type it again with a plain keyboard."),
        "invisible": Text("“{found}” holds an invisible character. Delete the field and type the PIN again."),
        "long": Text("“{found}” is too long. A PIN has 2 to 10 digits."),
        "marked": Text("“{found}” has a mark around the digits. Write the digits alone."),
        "separators": Text("“{found}” has something between the digits. Write the digits alone, 2 to 10 of them."),
        "short": Text("“{found}” is too short. A PIN has 2 to 10 digits."),
        "zeros_lost": Text(
            "“{found}” is too short, it seems to be “{restored}” without its leading zeros. "
            "Set the column to Text and type the PIN again, or have the zeros restored."
        ),
    },
    Code.PIN_DAMAGED: {
        "date": Text(
            "The spreadsheet has turned this PIN into a date or a time, “{found}”. "
            "Set the column to Text, then type the PIN again."
        ),
        "decimals": Text(
            "The spreadsheet has turned this PIN into a number with decimals, “{found}”. "
            "Set the column to Text, then type the PIN again."
        ),
        "formula_error": Text("The spreadsheet shows an error, “{found}”, in place of the PIN. Type the PIN itself."),
        "hashes": Text(
            "The column was too narrow, so the spreadsheet has saved “{found}” in place of the PIN. "
            "Make the column wider and save the file again."
        ),
        "scientific": Text(
            "The spreadsheet has turned this PIN into “{found}”, and digits are lost. "
            "Set the column to Text, then type the PIN again."
        ),
    },
    Code.PIN_TOO_SHORT: {
        "": Text("“{found}” is too short: at least {min} digits are asked for here. Choose a longer PIN."),
        "zeros_lost": Text(
            "“{found}” is too short: at least {min} digits are asked for here. It seems to be “{restored}” without its "
            "leading zeros: type that, or have the zeros restored."
        ),
    },
    Code.PIN_DUPLICATE: {
        "": Text("The PIN “{found}” is already in line {first_line}. Give one of the two people another PIN."),
        "in_list": Text("The PIN “{found}” is already in this list. Choose another one."),
    },
    Code.COMMA_IN_FIELD: {
        "": Text("“{found}” has a comma. Take it out: no field may hold one, in quotes or not."),
    },
    Code.CONTROL_CHARACTER: {
        "": Text("“{column}” holds an invisible character ({code_point}). Delete the field and type it again."),
        "line_break": Text("“{column}” holds a line break. Write it on one line."),
        "tab": Text("“{column}” holds a tab. Put a space in its place."),
    },
    Code.FIELD_TOO_LONG: {
        "": Text("“{column}” has {count} characters, at most {max} are allowed. Shorten it."),
    },
    Code.QUOTE_UNBALANCED: {
        "": Text(
            'A field in this line opens with a quotation mark (") and does not close with one. Take the mark out.'
        ),
    },
    Code.PIN_ZEROS_LOST: {
        "": Text(
            "“{found}” may have lost its leading zeros, as most PINs in the file have {width} digits. "
            "If so, set the column to Text and type “{restored}”, or have the zeros restored."
        ),
    },
    Code.PIN_GUESSABLE: {
        "": Plural(
            "n",
            "{n} PIN of {width} digits: one random guess in {one_in} gets in. Longer PINs are safer.",
            "{n} PINs of {width} digits: one random guess in {one_in} gets in. Longer PINs are safer.",
        ),
        "better": Plural(
            "n",
            "{n} PIN of {width} digits: one random guess in {one_in} gets in. Use PINs of {better} digits or more.",
            "{n} PINs of {width} digits: one random guess in {one_in} gets in. Use PINs of {better} digits or more.",
        ),
        "most": Plural(
            "n",
            "{n} PIN of {width} digits: most random guesses get in. Use longer PINs.",
            "{n} PINs of {width} digits: most random guesses get in. Use longer PINs.",
        ),
    },
    Code.EMAIL_UNLIKELY: {
        "": Text("“{found}” does not look like an email address, such as name@example.com."),
    },
}


def message(problem: Problem, language: str = "en") -> str:
    """What is wrong and how to mend it. In English if there is no catalogue of the language."""
    translations, locale = _catalogue(language)
    text = TEXTS[problem.code][str(problem.params.get("why", ""))]
    if isinstance(text, Plural):
        template = translations.ngettext(text.singular, text.plural, int(problem.params[text.counted]))
    else:
        template = translations.gettext(text.msgid)
    shown = {name: _shown(name, value, locale) for name, value in problem.params.items()}
    return template.format(column=problem.column, **shown)


def _shown(name: str, value: str | int, locale: Locale) -> str:
    """Numbers as the language writes them, but lines as a text editor shows them."""
    if isinstance(value, str) or name == "first_line":
        return str(value)
    from babel.numbers import format_decimal  # noqa: PLC0415 - a file without problems needs none of Babel

    return format_decimal(value, locale=locale)


@cache
def _catalogue(language: str) -> tuple[NullTranslations, Locale]:
    from babel import Locale  # noqa: PLC0415
    from babel.support import Translations  # noqa: PLC0415

    from loader.catalogues import catalogue  # noqa: PLC0415

    language = language.replace("_", "-").partition("-")[0]
    if language not in LANGUAGES:
        language = "en"
    translations = catalogue(CATALOGUES, language, DOMAIN)
    # The numbers go with the words: an English sentence has English numbers.
    return translations, Locale(language if isinstance(translations, Translations) else "en")
