"""What a run has seen: how often each outcome came from each entry point, and what was wrong."""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from proofs.fuzz.reference import ALL
from proofs.fuzz.request import FuzzRequest, to_text

_MAX_SHOWN = 10
_MAX_LENGTH = 2000  # characters of a request that are shown


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong, with the command that plays its request again. Without a request: seen after all of them."""

    seed: int
    text: str
    request: FuzzRequest | None = None
    entry_point: str = ""

    def __str__(self) -> str:
        if self.request is None:
            return f"octy: after all requests: {self.text}"
        command = f"PYTHONPATH=tests python -m proofs.fuzz --seed {self.seed} --request "
        command += shlex.quote(to_text(self.request, self.entry_point))
        return f"octy: {self.entry_point}: {self.text}\n  {self.request!r:.{_MAX_LENGTH}}\n  reproduce: {command}"


@dataclass
class Report:
    """One process's requests, or those of all."""

    seed: int
    headers: int = 0
    by_hypothesis: int = 0
    seconds: float = 0.0
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        self.headers += other.headers
        self.by_hypothesis += other.by_hypothesis
        self.seen += other.seen
        self.findings += other.findings

    def check_coverage(self, entry_points: Sequence[str]) -> None:
        """Add a finding for each outcome and entry point that never came up: nothing was shown of it."""
        never = [outcome for outcome in ALL if not any(self.seen[entry, outcome] for entry in entry_points)]
        never += [entry for entry in entry_points if not any(self.seen[entry, outcome] for outcome in ALL)]
        self.findings += [Finding(self.seed, f"{name} never came up") for name in never]

    def show(self, entry_points: Sequence[str]) -> None:
        console = Console(width=160, highlight=False)
        table = Table("outcome", *entry_points, "all")
        for column in table.columns[1:]:
            column.justify = "right"
        for outcome in (*ALL, *sorted({name for _, name in self.seen} - set(ALL))):
            counts = [self.seen[entry, outcome] for entry in entry_points]
            table.add_row(outcome, *(f"{count:,}" for count in counts), f"{sum(counts):,}")
        console.print(table)
        rate = self.headers / max(self.seconds, 0.001)
        console.print(f"{self.by_hypothesis:,} by Hypothesis; {self.seconds:.0f} s, {rate:,.0f} headers a second")
        for found in self.findings[:_MAX_SHOWN]:
            console.print(str(found), markup=False, soft_wrap=True)
        if len(self.findings) > _MAX_SHOWN:
            console.print(f"and {len(self.findings) - _MAX_SHOWN} more")
        console.print(f"octy: {self.headers:,} headers, seed {self.seed}, {len(self.findings)} findings")
