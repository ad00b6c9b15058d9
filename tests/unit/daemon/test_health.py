"""Whether the daemon is loaded and fresh."""

from daemon.health import Health


def loaded(*, looked_at: float | None = 0.0) -> Health:
    health = Health(stale_after=5.0)
    health.loaded = True
    if looked_at is not None:
        health.looked(looked_at)
    return health


def test_what_is_not_loaded_is_not_ready() -> None:
    health = Health(5.0)
    health.looked(100.0)
    readiness = health.readiness(100.0)
    assert (readiness.ready, readiness.index, readiness.database) == (False, "loading", "up")


def test_loaded_and_fresh_is_ready() -> None:
    readiness = loaded().readiness(0.4)
    assert (readiness.ready, readiness.index, readiness.database) == (True, "loaded", "up")
    assert readiness.seconds_since_look == 0.4


def test_a_database_that_fails_is_told_at_once_and_makes_the_index_stale_later() -> None:
    health = loaded()
    health.problem = "rollcall.db: is gone"
    assert (health.readiness(0.1).ready, health.readiness(0.1).database) == (True, "down")
    assert health.readiness(0.1).problem == "rollcall.db: is gone"
    assert not health.readiness(5.0).ready
    health.looked(6.0)
    assert (health.readiness(6.0).ready, health.readiness(6.0).problem) == (True, None)


def test_a_database_that_does_not_answer_is_down_too() -> None:
    """No error came, but no good look either."""
    assert loaded().database_up(0.9)
    assert not loaded().database_up(1.0)


def test_a_database_that_much_is_read_from_is_up_and_the_index_is_no_fresher_for_it() -> None:
    """At the start, and when a restored backup is read: that takes longer than a look."""
    health = Health(5.0)
    health.answered(100.0)
    assert (health.readiness(100.5).index, health.readiness(100.5).database) == ("loading", "up")
    assert health.readiness(100.5).seconds_since_look is None
    health = loaded()
    health.answered(6.0)
    assert (health.readiness(6.5).ready, health.readiness(6.5).database) == (False, "up")
    health.problem = "rollcall.db: is gone"
    assert not health.database_up(6.5)


def test_how_long_is_too_long_can_be_changed() -> None:
    health = loaded()
    health.stale_after = 60.0
    assert health.readiness(59.0).ready


def test_who_is_about_to_stop_is_not_ready() -> None:
    health = loaded()
    health.draining = True
    assert not health.readiness(0.1).ready
    assert health.readiness(0.1).draining
