"""What Prometheus makes of metrics as they are served: promtool evaluates queries over them. No tests here."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

_SERIES = re.compile(r"^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)(?: \d+)?$")
_MINUTES = 20


def series_of(text: str, job: str) -> Iterator[dict[str, str]]:
    """Return a text of metrics as promtool's input: each counts up from 0 in the middle, as if it had been scraped."""
    for line in text.splitlines():
        found = _SERIES.match(line)
        if found is None:
            continue
        name, labels, value = found.groups()
        own = f'job="{job}",instance="a"'
        inner = (labels or "{}")[1:-1].rstrip(",")
        yield {
            "series": f"{name}{{{inner + ',' if inner else ''}{own}}}",
            "values": f"0x{_MINUTES // 2} {_number(value)}x{_MINUTES}",
        }


def _number(value: str) -> str:
    """Return a value as promtool reads it: no exponents, and infinity in its own words."""
    number = float(value)
    return "Inf" if number == float("inf") else "NaN" if number != number else f"{number:.9f}"  # noqa: PLR0124


def queries_without_data(queries: Sequence[str], series: Sequence[dict[str, str]], folder: Path) -> list[str]:
    """Return the queries that have no result over these series."""
    asked = [query.replace("$__rate_interval", "15m") for query in queries]
    checks = [
        {
            "expr": f"count({query}) > bool 0",
            "eval_time": f"{_MINUTES // 2 + 3}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for query in asked
    ]
    file = folder / "queries.yml"
    tests = [{"interval": "1m", "input_series": list(series), "promql_expr_test": checks}]
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(
        ["promtool", "test", "rules", file.name], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    told = (done.stdout + done.stderr).replace('\\"', '"')  # it quotes what it failed for
    assert (done.returncode == 0) is ("FAILED" not in told), told
    empty = [query for query, check in zip(queries, checks, strict=True) if str(check["expr"]) in told]
    assert empty or done.returncode == 0, told
    return empty
