"""Whether all is as it should be: small looks at one thing each, and what to do about what is not."""

from loader.doctor.examine import examine
from loader.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine"]
