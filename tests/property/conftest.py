"""What the tests of the doors have, for properties too."""

from tests.unit.daemon.doors.conftest import index, live

__all__ = ["index", "live"]
