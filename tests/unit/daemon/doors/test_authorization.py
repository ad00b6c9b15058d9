"""Tokens as HTTP carries them."""

import base64
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from daemon.doors.authorization import authorize
from daemon.doors.problem import Problem
from daemon.live import Live
from tests.unit.daemon.doors.conftest import TOKEN


def headers(authorization: str | None) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({} if authorization is None else {"Authorization": authorization}))


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def refused(live: Live, authorization: str | None, **how: Any) -> Problem:
    with pytest.raises(Problem) as raised:
        authorize(live, headers(authorization), **how)
    return raised.value


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("sent", [f"Bearer {TOKEN}", f"bearer  {TOKEN} ", f"BEARER {TOKEN}"])
def test_a_token_is_a_bearer_token(live: Live, sent: str, allowed: bool) -> None:
    authorize(live, headers(sent), basic=allowed)


@pytest.mark.parametrize("sent", [basic(f"pbx-1:{TOKEN}"), basic(f":{TOKEN}"), basic(f"ö:{TOKEN}")])
def test_a_token_may_be_a_password_where_that_is_allowed(live: Live, sent: str) -> None:
    authorize(live, headers(sent), basic=True)
    assert refused(live, sent).status == 401


NONE = [
    None,
    "",
    TOKEN,
    f"Digest {TOKEN}",
    "Bearer",
    "Bearer x",
    "Basic",
    "Basic ÿ",
    f"Basic {TOKEN}",
    basic(TOKEN),
    basic(f"{TOKEN}:"),
    basic(f"pbx-1:{TOKEN}x"),
    f"Bearer {TOKEN}\udcff",
]


@pytest.mark.parametrize("sent", NONE)
def test_whatever_else_is_sent_is_refused_without_being_repeated(live: Live, sent: str | None) -> None:
    problem = refused(live, sent, basic=True)
    assert (problem.status, problem.headers) == (401, {"WWW-Authenticate": 'Basic realm="Rollcall", charset="UTF-8"'})
    assert TOKEN not in problem.detail
    assert refused(live, sent).headers == {"WWW-Authenticate": "Bearer"}


def test_while_no_tokens_are_loaded_nobody_is_told_that_his_is_wrong() -> None:
    assert refused(Live(), f"Bearer {TOKEN}").status == 503
