"""What the services have in common."""

import subprocess
import sys

_LIMITS = """
import resource
from loader.service import allow_many_connections
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048))
allow_many_connections()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_service_may_have_as_many_connections_as_the_system_allows() -> None:
    """In a process of its own, as a limit that was lowered stays low."""
    done = subprocess.run([sys.executable, "-c", _LIMITS], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["2048", "2048"]
