"""For all tests: some open a thousand connections, both ends of them."""

from loader.service import allow_many_connections


def pytest_configure() -> None:
    """Before any test."""
    allow_many_connections()
