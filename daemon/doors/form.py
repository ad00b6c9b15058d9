"""The forms that telephony platforms post: only what is known is looked at, and a strange caller's name breaks nothing."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

from daemon.doors.problem import Problem


def read_form(body: bytes, names: Iterable[str]) -> dict[str, str]:
    """These fields; empty where they were not sent. Raises Problem if one of them was sent more than once.

    What is not UTF-8 becomes U+FFFD: platforms pass on callers' names in whatever encoding these came in.
    """
    return fields_of(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, errors="replace"), names)


def fields_of(form: Iterable[tuple[str, str]], names: Iterable[str]) -> dict[str, str]:
    """These fields of a form that has been read; empty where they were not sent. Raises Problem as :func:`read_form`."""
    fields = dict.fromkeys(names, "")
    seen = set()
    for name, value in form:
        if name not in fields:
            continue
        if name in seen:
            raise Problem(400, "The form is malformed.", errors={name: "stands more than once"})
        seen.add(name)
        fields[name] = value
    return fields
