"""Lists of made-up people, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator

from loader.model import Entry, Pin

_FIRST = "Mike Jane Ana Luc Zoë Hiro Mei Omar Ines Piet Asa Noor Tomas Lea Ivo Kaya Rui Elin Sami Vera".split()
_LAST = "Doe Example Sample Tester Muster Mustermann Dupont Tanaka Rossi Novak Jansen Silva Kowalska Berg".split()
_COMPANIES = [
    f"{name} {form}"
    for name in ("XYZ", "Example Works", "Sample Trading")
    for form in ("Ltd", "GmbH", "KK", "Inc", "SA")
]
_CITIES = "Uxbridge Lyon Osaka Graz Porto Gent Turku Brno Leeds Cork Bergen Split Kyoto Nantes Essen Parma".split()
_STATES = "UK FR JP AT PT BE FI CZ IE NO HR DE IT".split()


def people(count: int, *, width: int = 8, seed: int = 1) -> Iterator[Entry]:
    """Entries with all nine fields filled in, PINs of one width spread over all numbers, in no order."""
    random_ = random.Random(seed)
    numbers = random_.sample(range(10**width), count)
    for at, number in enumerate(numbers):
        first, last = random_.choice(_FIRST), random_.choice(_LAST)
        yield Entry(
            pin=Pin(f"{number:0{width}}"),
            first_name=first,
            last_name=f"{last}-{at % 997}",
            company=random_.choice(_COMPANIES),
            phone=f"+1 555 01{at % 100:02} {at % 10_000:04}",
            email=f"{last.lower()}.{at}@example.com",
            city=random_.choice(_CITIES),
            state_country=random_.choice(_STATES),
            other="" if at % 4 else "guest",
        )
