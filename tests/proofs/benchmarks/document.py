"""PURE. A report as Markdown, with its plots beside it.

Here: the document. Not here: its tables and plots (each bench's), the report (`__main__`).
"""

from typing import Any

from proofs.benchmarks import goals
from proofs.benchmarks.catalogue import BENCHES
from proofs.benchmarks.plot import svg
from proofs.benchmarks.presentation import Plot, Table, shown

_HEAD = """# Benchmarks

`make bench` wrote this page and its plots; it measures everything anew, in one run. Each comparison is made in
interleaved rounds in random order, with a second copy of the bare app as a control (A/A): the control's difference is
noise. Figures are medians of rounds with the quartiles in brackets; ratios are taken within a round.

The load generator is a process of its own with plain sockets and epoll, keep-alive connections, no pipelining
(`tests/proofs/benchmarks/generator.py`). It shares the cores below with the servers. Where it limits throughput, the
ratio by CPU still tells what a request costs.
"""


def documents(report: dict[str, Any]) -> dict[str, str]:
    """Return the files of a docs folder by name."""
    benches = {name: figures for name, figures in report["benches"].items() if name in BENCHES}
    plots = {name: BENCHES[name].plots(figures) for name, figures in benches.items()}
    parts = [_HEAD, _machine(report), markdown(goals.table(report["goals"]))]
    for name, figures in benches.items():
        parts += [markdown(table) for table in BENCHES[name].tables(figures)]
        parts += [f"![{plot.title}]({_file(plot)})\n" for plot in plots[name]]
    drawings = {_file(plot): svg(plot) for some in plots.values() for plot in some}
    return {"benchmarks.md": "\n".join(parts), **drawings}


def markdown(table: Table) -> str:
    """Return a table under its title."""
    lines = [f"## {table.title}", ""]
    lines += [_row(table.columns), _row(["---", *["---:"] * (len(table.columns) - 1)])]
    lines += [_row(row) for row in table.rows]
    if table.note:
        lines += ["", table.note]
    return "\n".join([*lines, ""])


def _row(cells: Any) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _machine(report: dict[str, Any]) -> str:
    machine = dict(report["machine"])
    kind = f"{machine.pop('cores')} cores ({machine.pop('processor')}), {machine.pop('system')}"
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    sync = shown(report["sync_ms"])
    return (
        f"Run on {report['date']} in {report['seconds'] / 60:.0f} minutes by `{report['command']}`, size "
        f"{report['size']}, seed {report['seed']}: {kind}; {versions}. Load average before it: "
        f"{report['load_before']}. One fdatasync of 4 KiB took {sync} ms.\n"
    )


def _file(plot: Plot) -> str:
    return f"bench-{plot.name}.svg"
