"""The benches by name, and a report of them as Markdown with its plots beside it."""

from types import MappingProxyType
from typing import Any

from proofs.benchmarks import alerts, commands, flood, goals, hot_paths, in_process, keys, over_http, refusals, tables
from proofs.benchmarks.plot import svg
from proofs.benchmarks.presentation import markdown, shown

BENCHES = MappingProxyType(
    {
        "hot_paths": hot_paths,
        "in_process": in_process,
        "over_http": over_http,
        "refusals": refusals,
        "flood": flood,
        "alerts": alerts,
        "keys": keys,
        "tables": tables,
        "commands": commands,
    }
)
"""In the order of runs and of the document. Each module has `measure(lab)`, which returns its part of a report and
raises when it did not do what it says, and `tables(figures)` and `plots(figures)` of that part."""

_HEAD = """# Benchmarks

`make bench` wrote this page and its plots; it measures everything in one run. Each comparison is made in
interleaved rounds in random order, with a second copy of the bare app as a control (A/A): the control's difference is
noise. Figures are medians of rounds with the quartiles in brackets; ratios are taken within a round.

The load generator is a process of its own with plain sockets and epoll, keep-alive connections, no pipelining
(`tests/proofs/benchmarks/generator.py`). For accepted requests the server has a core of its own, and the generator
the others; during refusals they share all. Where the generator limits throughput, the ratio by CPU still says what a
request costs.
"""


def documents(report: dict[str, Any]) -> dict[str, str]:
    """Return the text of each file of a docs folder, by name."""
    parts, drawings = [_HEAD, _describe_machine(report), markdown(goals.table(report))], {}
    for name, figures in report["benches"].items():
        parts += [markdown(table) for table in BENCHES[name].tables(figures)]
        for plot in BENCHES[name].plots(figures):
            parts.append(f"![{plot.title}]({plot.file})\n")
            drawings[plot.file] = svg(plot)
    return {"benchmarks.md": "\n".join(parts), **drawings}


def _describe_machine(report: dict[str, Any]) -> str:
    machine = dict(report["machine"])
    kind = f"{machine.pop('cores')} cores ({machine.pop('processor')}), {machine.pop('system')}"
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    return (
        f"Run on {report['date']} in {report['seconds'] / 60:.0f} minutes by `{report['command']}`, size "
        f"{report['size']}, seed {report['seed']}: {kind}; {versions}. Load average before it: "
        f"{report['load_before']}. One fdatasync of 4 KiB took {shown(report['sync_ms'])} ms.\n"
    )
