"""One check that is removed once."""

from dataclasses import dataclass
from pathlib import Path

from support.paths import ROOT

SOURCES = {"octy_middleware": ROOT, "octy_workflows": ROOT / "workflows", "octy_worker": ROOT / "worker"}
"""The folder of each package."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the design, and a small edit of its source that removes this check and nothing else."""

    name: str  # what is refused, in the words of the design
    file: str  # below the folder of its package
    source: str  # stands in the file exactly once
    without: str  # what it is replaced by
    tests: tuple[str, ...]  # ids, below tests/; each must fail without the check
    gain: str  # what an attacker gets without it

    @property
    def path(self) -> Path:
        """The file with the check."""
        return SOURCES[self.file.partition("/")[0]] / self.file

    @property
    def first_line(self) -> str:
        """The beginning of the check's source."""
        return self.source.strip().partition("\n")[0].strip()

    def removed_from(self, text: str) -> str:
        """Return the source text without the check. Raises ValueError unless it stands there once."""
        found = text.count(self.source)
        if found != 1:
            raise ValueError(f"the source of this check stands {found} times in {self.file}, not once")
        return text.replace(self.source, self.without)
