"""Printing: tables and texts for people, JSON for programs, errors and notes on stderr.

Text from outside is escaped here: references, user agents and addresses are chosen by others, and a terminal
executes control sequences.
"""

import io
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from octy_worker import sanitize
from octy_worker.cli.options import ListPage
from octy_worker.errors import CommandError

_UNLIMITED_WIDTH = 100_000  # columns of a file or a pipe: nothing is cut or folded there
Cell = str | int | bool | datetime | None


def format_time(time: datetime) -> str:
    """Return `2026-02-03 14:15:16Z`."""
    return f"{time:%Y-%m-%d %H:%M:%S}Z"


def cell_text(value: Cell) -> Text:
    """Return a value as escaped text; rich's markup in it is not interpreted."""
    match value:
        case None | "":
            return Text("–", "dim")
        case bool():
            return Text("yes" if value else "no")
        case datetime():
            return Text(format_time(value))
        case _:
            return Text(sanitize.for_terminal(str(value)), overflow="fold", no_wrap=False)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, title: str = "", no_wrap: Collection[str] = ()
) -> Table:
    """Return a table of rows under their columns.

    `no_wrap`: columns of ids and keys, which are folded last when the terminal is narrow.
    """
    made = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        title=title or None,
        title_style="bold",
        title_justify="left",
    )
    for column in columns:
        made.add_column(column, no_wrap=column in no_wrap)
    for row in rows:
        made.add_row(*(cell_text(cell) for cell in row))
    return made


def key_value_table(rows: Iterable[tuple[str, Cell]]) -> Table:
    """Return labels and values, one pair a line."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column()
    for label, value in rows:
        made.add_row(Text(label), cell_text(value))
    return made


def print_page(*parts: RenderableType) -> None:
    """Print to stdout: folded to a terminal's width; to a file or pipe neither folded nor coloured."""
    if sys.stdout.isatty():
        print_parts(Console(highlight=False, markup=False, emoji=False), parts)
        return
    written = io.StringIO()
    print_parts(
        Console(file=written, highlight=False, markup=False, emoji=False, width=_UNLIMITED_WIDTH, force_terminal=False),
        parts,
    )
    sys.stdout.write("".join(line.rstrip() + "\n" for line in written.getvalue().splitlines()))


def print_parts(console: Console, parts: Sequence[RenderableType]) -> None:
    """Print the parts of a page with an empty line between them."""
    for number, part in enumerate(parts):
        if number:
            console.print()
        console.print(part)


def print_list(
    name: str,
    found: Sequence[object],
    total: int,
    page: ListPage,
    render: Callable[[Any], RenderableType],
    *,
    empty: str,
    as_json: bool,
) -> None:
    """Print a page of a list, and to stderr the total number of rows and how to see the others."""
    end = page.offset + len(found)
    total = max(total, end if found else 0)  # counted by a separate query
    if as_json:
        print_json({name: list(found), "more": total > end, "total": total})
        return
    if not found:
        print_lines(f"There is no page {page.number}; there are {total:,} rows in total." if total else empty)
        return
    print_page(render(found))
    if len(found) == total:
        print_note(f"{total:,} in total")
        return
    next_page = f"--page {page.number + 1} shows the next, " if total > end else ""
    print_note(f"{page.offset + 1:,} to {end:,} of {total:,} in total, newest first → {next_page}--limit 0 shows all")


def print_lines(*lines: str) -> None:
    """Print plain lines to stdout."""
    print_page(Text("\n".join(sanitize.for_terminal(line) for line in lines)))


def print_result(value: object, lines: Sequence[str], *, as_json: bool) -> None:
    """Print what a command did: the value as JSON, or the lines. Without lines nothing was changed.

    If stdout can't be written, raise CommandError with the first line, which says what was done.
    """
    with report_unwritten(lines[0] if lines else "Nothing was changed."):
        if as_json:
            print_json(value)
        elif lines:
            print_lines(*lines)


@contextmanager
def report_unwritten(done: str) -> Iterator[None]:
    """Flush what a body prints to stdout; raise CommandError with what was done if that can't be written."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        raise CommandError(f"{done} But stdout can't be written: {error.strerror}") from None


def print_json(value: object) -> None:
    """Print a report as JSON: the names of its fields, times as ISO 8601 in UTC, ASCII only."""
    sys.stdout.write(json.dumps(to_json(value), indent=2) + "\n")


def print_json_line(value: object) -> None:
    """Print a report as JSON on one line and flush, for programs that read a stream."""
    sys.stdout.write(json.dumps(to_json(value)) + "\n")
    sys.stdout.flush()


def to_json(value: object) -> object:
    """Return a report as JSON values."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    match value:
        case datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case dict():
            return {str(key): to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
        case _:
            return value


def confirm(question: str) -> None:
    """Ask on stderr. Raises CommandError unless the answer is yes; the end of the input is no."""
    if ask(f"{sanitize.for_terminal(question)} [y/N] ").lower() not in {"y", "yes"}:
        raise CommandError("cancelled, nothing was changed")


def ask(question: str) -> str:
    """Ask on stderr and return the line that is typed, without spaces. Raises KeyboardInterrupt."""
    sys.stdout.flush()  # what the question is about, also into a pipe
    sys.stderr.write(question)
    sys.stderr.flush()
    return "".join(sys.stdin.readline().split())


def print_error(text: str) -> None:
    """Print an error to stderr, each line prefixed with `octy: `."""
    print_note(*(f"octy: {line}" for line in text.splitlines()))


def print_note(*lines: str) -> None:
    """Print escaped lines to stderr."""
    sys.stderr.write("".join(sanitize.for_terminal(line) + "\n" for line in lines))


def print_omitted(*parts: tuple[str, int, int], to_see_all: str = "--limit 0 shows all") -> None:
    """Print to stderr which parts of a page are incomplete; a part is a name, the rows shown, and the total."""
    left_out = [f"{name} {shown:,} of {total:,}" for name, shown, total in parts if total > shown]
    if left_out:
        print_note(f"not all rows are shown: {', '.join(left_out)} → {to_see_all}")
