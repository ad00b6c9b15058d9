"""How the daemon is called."""

from pathlib import Path

import pytest

from daemon.main import main


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--version"], 0, "rollcall-daemon 0."),
        (["--help"], 0, "SIGHUP reads the settings and the key file again"),
        (["--nonsense"], 2, "unrecognized arguments: --nonsense"),
        (["--conf", "rollcall.toml"], 2, "unrecognized arguments: --conf rollcall.toml"),
    ],
)
def test_it_is_called_as_any_program(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    assert said in " ".join("".join(capsys.readouterr()).split())


def test_wrong_settings_are_told_all_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each on a line of its own with its file and line, or its variable; nothing else is done."""
    config = tmp_path / "rollcall.toml"
    config.write_text('[daemon]\nport = "many"\n')
    monkeypatch.setenv("ROLLCALL_DAEMON__STALE_AFTER", "never")
    monkeypatch.setenv("ROLLCALL_DAEMON__PROT", "1")
    assert main(["--config", str(config)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("rollcall-daemon: ") for line in lines)
    for told in (
        f"{config}, line 2: daemon.port:",
        "ROLLCALL_DAEMON__STALE_AFTER: daemon.stale_after:",
        "ROLLCALL_DAEMON__PROT: daemon.prot: there is no such setting",
    ):
        assert told in err


def test_settings_that_are_not_there_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--config", str(tmp_path / "none.toml")]) == 2
    assert (
        capsys.readouterr().err == f"rollcall-daemon: {tmp_path}/none.toml: cannot be read: No such file or directory\n"
    )


@pytest.mark.parametrize("workers", ["0", "65", "many"])
def test_a_number_of_processes_that_cannot_be_is_told(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    assert main(["--workers", workers]) == 2
    assert "daemon.workers" in capsys.readouterr().err
