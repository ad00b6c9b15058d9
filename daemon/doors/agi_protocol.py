"""The words of AGI: what Asterisk sends becomes values, and commands become lines. Pure.

Asterisk's source is the only specification: `setup_env`, `agi_handle_command` and `parse_args` in `res/res_agi.c`,
`array` in `funcs/func_strings.c`, `__ast_app_separate_args` in `main/app.c`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_ENVIRONMENT: Final = 16_384
"""Bytes of the lines that Asterisk sends first."""
MAX_LINE: Final = 4096
"""Bytes of one line of a reply."""
MAX_COMMAND: Final = 2047
"""Bytes of a command, its line end included: older Asterisks take what is beyond for the next command."""
MAX_FIELD: Final = 480
"""Bytes that the text of one variable takes in a command; the rest of it is cut off."""

_MAX_USAGE: Final = 200
"""Lines of the usage that follows a command which Asterisk does not understand."""
_KEYS: Final = (
    "network network_script request channel language type uniqueid version callerid calleridname callingpres "
    "callingani2 callington callingtns dnid rdnis context extension priority enhanced accountcode threadid"
).split()
"""What Asterisk tells, in its order. Arguments come behind it."""


def _grammar() -> re.Pattern[bytes]:
    # Keys of later versions may stand anywhere before the arguments. Looked for last, they cost nothing where none is.
    others = rf"(?:agi_(?!(?:arg_[0-9]+|{'|'.join(_KEYS)}):)\w+: .*\n)*?"
    lines = {key: rf"agi_{key}: .*\n{others}" for key in _KEYS} | {
        "network": rf"agi_network: yes\n{others}",
        "network_script": rf"(?:agi_network_script: (.*)\n{others})?",
        "uniqueid": rf"agi_uniqueid: (.+)\n{others}",
        "callerid": rf"agi_callerid: (.*)\n{others}",
        "threadid": r"agi_threadid: .*\n",
    }
    return re.compile("".join((*lines.values(), r"((?:agi_arg_[0-9]+: .*\n)*)")).encode())


_ENVIRONMENT: Final = _grammar()


class NotAgi(Exception):
    """What came is not what Asterisk sends."""


class Environment(NamedTuple):
    """What Asterisk tells before the first command: which script, with what, and for which call."""

    script: str
    arguments: Sequence[str]
    call_id: str
    caller: str | None


def read_environment(block: bytes) -> Environment:
    """The environment from its lines, all with their line ends, without the empty one behind them. Raises NotAgi.

    Asterisk sends a line end within a caller's name as it is, so that a caller can make lines up. So each line must
    stand once and in its place; and what is behind a made-up end is noticed with the first command (see :func:`fetch`).
    """
    told = _ENVIRONMENT.fullmatch(block)
    if told is None:
        raise NotAgi
    script, call_id, caller, given = told.groups(b"")
    arguments = []
    if given:
        # What is behind the last line end is empty.
        for number, line in enumerate(given.decode("utf-8", "replace")[:-1].split("\n"), 1):
            key, _, argument = line.partition(": ")
            if key != f"agi_arg_{number}":
                raise NotAgi
            arguments.append(argument)
    return Environment(
        script.decode("utf-8", "replace").partition("?")[0].strip("/"),
        arguments,
        call_id.decode("utf-8", "replace"),
        None if caller in (b"", b"unknown") else caller.decode("utf-8", "replace"),
    )


class Reply(NamedTuple):
    """What Asterisk answers to a command: its code (200 is well), the result, and what stands behind it in brackets."""

    code: int
    result: str = ""
    told: str | None = None


_RESULT: Final = re.compile(r"200 result=(-?[0-9A-D*#]*)(?: \((.*)\))?(?: endpos=-?[0-9]+)?")
_REFUSED: Final = re.compile(r"(5[0-9][0-9]) .*")
_DONE_LINE: Final = b"200 result=1"
_DONE: Final = Reply(200, "1")
"""What most commands are answered."""


class Replies:
    """Makes replies of lines. One of several lines (520) is one reply."""

    def __init__(self) -> None:
        self._usage = 0

    def read(self, line: bytes) -> Reply | None:
        """The reply that ends with this line, which is without its line end; None if it goes on. Raises NotAgi."""
        if line == _DONE_LINE and not self._usage:
            return _DONE
        if len(line) > MAX_LINE:
            raise NotAgi
        text = line.decode("utf-8", "replace")
        if self._usage:
            if text.startswith("520 "):
                self._usage = 0
                return Reply(520)
            self._usage += 1
            if self._usage > _MAX_USAGE:
                raise NotAgi
            return None
        if match := _RESULT.fullmatch(text):
            return Reply(200, match[1], match[2])
        if match := _REFUSED.fullmatch(text):
            return Reply(int(match[1]))
        if text.startswith("520-"):
            self._usage = 1
            return None
        raise NotAgi


# Control characters, and what else ends a line somewhere; half a surrogate is none of UTF-8.
_CONTROLS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000)), " ")
_QUOTED: Final = str.maketrans({**_CONTROLS, "\\": r"\\", '"': r"\""})
# Each of these is escaped once for ARRAY(), and then all that is quotes or backslash for the command.
_LISTED: Final = str.maketrans({**_CONTROLS, "\\": r"\\\\", '"': r"\\\""} | {one: rf"\\{one}" for one in ",()[]"})
_SPECIAL: Final = re.compile(f"[{re.escape(''.join(map(chr, _LISTED)))}]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}", re.ASCII)


def is_variable(name: str) -> bool:
    """Whether this can be a variable's name in a command."""
    return _NAME.fullmatch(name) is not None


def fetch(mark: str, names: Sequence[str]) -> bytes:
    """Asks for these variables all at once, in one round trip.

    `mark` is to be something that nobody can guess: it parts the values, and a reply that was made up does not have it.
    """
    return f'GET FULL VARIABLE "{mark}{"".join(f"${{{name}}}{mark}" for name in names)}"\n'.encode()


def fetched(mark: str, names: Sequence[str], reply: Reply) -> list[str]:
    """The values that :func:`fetch` asked for; of a variable that is not set, the empty string. Raises NotAgi."""
    before, *values = (reply.told or "").split(mark)
    if before or len(values) != len(names) + 1 or values.pop():
        raise NotAgi
    return values


def assign(names: str, values: Sequence[str]) -> bytes:
    """Sets all these variables, parted by commas, in their order, by one command: so that all are set or none.

    A value can hold anything: control characters become spaces, and what is too long is cut off.
    """
    together = "".join(values)
    # Most need no second look: one for all of them is enough.
    if len(together) * 4 > MAX_FIELD or _SPECIAL.search(together) is not None:
        values = [_listed(value) for value in values]
    return f'SET VARIABLE ARRAY({names}) "{",".join(values)}"\n'.encode()


def get_data(sound: str, *, seconds: float, digits: int) -> bytes:
    """Plays a sound (or none) and listens for digits up to a `#`, with so many seconds for each."""
    return f"GET DATA {_quoted(sound)} {max(1, round(seconds * 1000))} {digits}\n".encode()


def stream_file(sound: str, escape_digits: str = "") -> bytes:
    """Plays a sound; one of these digits ends it, and is told. Other keys are forgotten."""
    return f"STREAM FILE {_quoted(sound)} {_quoted(escape_digits)}\n".encode()


def _quoted(text: str) -> str:
    return f'"{text.translate(_QUOTED)}"'


def _listed(text: str) -> str:
    fitting, left = [], MAX_FIELD
    for character in text:
        one = character.translate(_LISTED)
        left -= len(one.encode())
        if left < 0:
            break
        fitting.append(one)
    return "".join(fitting)
