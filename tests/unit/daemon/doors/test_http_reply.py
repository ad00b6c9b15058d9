"""Answers as bytes."""

import pytest

from daemon.doors.http_reply import NO_CONTENT, Renderer, Reply, head


@pytest.mark.parametrize("keep_alive", [True, False])
def test_what_is_only_heard_is_answered_without_a_body_and_without_a_length(keep_alive: bool) -> None:
    """RFC 9110, section 8.6: a 204 must not have a Content-Length."""
    answer = Renderer().render(NO_CONTENT, (1, 1), keep_alive=keep_alive)
    lines = answer.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 204 No Content"
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"\r\n\r\n") == 1
    assert b"content-length" not in answer.lower()
    assert ("Connection: close" in lines) is not keep_alive


def test_an_empty_body_has_a_length_all_the_same() -> None:
    answer = Renderer().render(Reply(head(200, "text/plain"), b""), (1, 1), keep_alive=True)
    assert b"\r\nContent-Length: 0\r\n" in answer
