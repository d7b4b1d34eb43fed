"""What a measurement prints: its figures, what did not hold, and one clear last line."""

import sys
from collections.abc import Iterable, Sequence


class Report:
    """Figures are printed as they come; `faults` is empty when everything held."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[str] = []
        _print(f"{name}:")

    def figure(self, what: str, value: object) -> None:
        _print(f"  {what}: {value}")

    def expect(self, holds: bool, fault: str) -> None:
        """Note a fault unless this holds."""
        if not holds:
            self.faults.append(f"{self.name}: {fault}")
            _print(f"  BROKEN: {fault}")

    def same(self, what: str, found: object, wanted: object) -> None:
        """Print a figure that must be exactly this."""
        self.figure(what, found)
        self.expect(found == wanted, f"{what} should be {wanted}, not {found}")

    def between(self, what: str, found: int, least: int, most: int) -> None:
        """Print a count that must be no less and no more."""
        self.figure(what, found)
        self.expect(least <= found <= most, f"{what} should be {least}{f' to {most}' * (most > least)}, not {found}")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def conclude(measurement: str, reports: Iterable[Report]) -> int:
    """Print the last line and return the exit status."""
    faults = [fault for report in reports for fault in report.faults]
    _print(f"{measurement}: {'BROKEN: ' + '; '.join(faults) if faults else 'everything held'}")
    return 1 if faults else 0


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that so large a part of all values does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


def in_ms(seconds: Sequence[float]) -> str:
    """Return median, 99th percentile and maximum as text."""
    figures = (percentile(seconds, part) * 1e3 for part in (0.5, 0.99, 1.0))
    return "p50 {:.1f} ms, p99 {:.1f} ms, max {:.1f} ms (n={})".format(*figures, len(seconds))
