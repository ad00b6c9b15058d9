"""`rollcall user link`."""

from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

DIRECTORY = '[[user]]\nid = "ope"\nname = "Olga Operator"\nemail = "ope@example.com"\nrole = "operator"\n'


def test_a_link_sets_the_password_of_a_user(run: Run, folder: Path) -> None:
    """So the first operator gets in. The link is the result, what it is good for is told beside it."""
    run("init")
    (folder / "directory.toml").write_text(DIRECTORY)
    assert run("directory", "apply", "directory.toml")[0] == 0
    status, out, err = run("user", "link", "ope")
    assert status == 0
    assert out.startswith("http://127.0.0.1:8471/password/new/")
    assert "within an hour" in err
    assert run("user", "link", "ope")[1] != out


def test_a_link_is_for_who_is_there(run: Run, folder: Path) -> None:
    run("init")
    assert run("user", "link", "nobody") == (1, "", "rollcall: there is no user nobody\n")
