"""What a campaign has seen: how often each outcome, by which way, and what was wrong.

Here: counting, adding up the processes, the table, the last line. Not here: what is right.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from proofs.fuzz.lanes import Input
from proofs.fuzz.reference import ALL

_SHOWN = 10
_LONGEST = 2000  # characters of an input that are shown


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be, with the line that makes it again. Number -1: seen in the end, of no one input."""

    seed: int
    number: int
    lane: str
    text: str
    shown: str = ""

    def __str__(self) -> str:
        if self.number < 0:
            return f"octy: in the end: {self.text}"
        command = f"PYTHONPATH=tests python -m proofs.fuzz --seed {self.seed} --only {self.number}"
        return f"octy: input {self.number} by {self.lane}: {self.text}\n  {self.shown}\n  reproduce: {command}"


def finding(seed: int, given: Input, lane: str, text: str) -> Finding:
    """Return a finding that shows its input."""
    return Finding(seed, given.number, lane, text, f"{given.values!r} {given.around!r}"[:_LONGEST])


@dataclass
class Report:
    """One process's share, or all of them."""

    seed: int
    played: int = 0
    seconds: float = 0.0
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        self.played += other.played
        self.seconds = max(self.seconds, other.seconds)
        self.seen += other.seen
        self.findings += other.findings

    def check_coverage(self, lanes: Iterable[str]) -> None:
        """A check that never had anything to look at has shown nothing: each outcome and each way must have come up."""
        lanes = tuple(lanes)
        never = [outcome for outcome in ALL if not any(self.seen[lane, outcome] for lane in lanes)]
        never += [lane for lane in lanes if not any(self.seen[lane, outcome] for outcome in ALL)]
        self.findings += [Finding(self.seed, -1, "", f"{name} never came up") for name in never]

    def table(self, lanes: Iterable[str]) -> Table:
        lanes = tuple(lanes)
        table = Table("outcome", *lanes, "all")
        for column in table.columns[1:]:
            column.justify = "right"
        for outcome in (*ALL, *sorted({name for _, name in self.seen} - set(ALL))):
            counts = [self.seen[lane, outcome] for lane in lanes]
            table.add_row(outcome, *(f"{count:,}" for count in counts), f"{sum(counts):,}")
        return table

    def figures(self) -> dict[str, object]:
        """Return the same as the table, for machines."""
        seen = {lane: {} for lane, _ in sorted(self.seen)}  # type: dict[str, dict[str, int]]
        for (lane, outcome), count in sorted(self.seen.items()):
            seen[lane][outcome] = count
        findings = [str(found) for found in self.findings]
        return {"seed": self.seed, "headers": self.played, "seconds": self.seconds, "seen": seen, "findings": findings}

    def last_line(self) -> str:
        exceptions = len(self.findings)
        return f"octy: {self.played:,} headers, seed {self.seed}, {exceptions} exceptions"

    def show(self, lanes: Iterable[str]) -> None:
        console = Console(width=160)
        console.print(self.table(lanes))
        rate = self.played / max(self.seconds, 0.001)
        console.print(f"{self.seconds:.0f} s, {rate:,.0f} headers a second", highlight=False)
        for found in self.findings[:_SHOWN]:
            console.print(str(found), markup=False, highlight=False, soft_wrap=True)
        if len(self.findings) > _SHOWN:
            console.print(f"and {len(self.findings) - _SHOWN} more", highlight=False)
        console.print(self.last_line(), highlight=False)
