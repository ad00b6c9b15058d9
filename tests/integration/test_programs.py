"""What is missing is skipped where that may be, and told where it may not."""

import pytest

from tests.integration.programs import program


def test_a_program_that_is_there_is_found() -> None:
    assert program("sh").endswith("/sh")


def test_a_server_is_found_where_a_user_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert program("sh").endswith("/sh")


def test_without_a_program_a_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_REQUIRE", "another no-such")
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        program("no-such-program")


def test_without_a_program_that_has_to_be_there_a_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_REQUIRE", "another no-such-program")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        program("no-such-program")
