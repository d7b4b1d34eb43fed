"""Layout of help texts: what a command does, details, examples, and the keys of its JSON."""

import re
from collections.abc import Sequence

from octy_worker.cli.exit_codes import DESCRIPTIONS

_MARKUP = re.compile(r"\[(?=[a-z#/@])")


def help_text(summary: str, examples: Sequence[str], *, more: str = "", json: str = "") -> str:
    """Return a help text. `summary` is also shown in lists of commands; `json` names the keys of `--json`."""
    listed = "\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples)
    parts = [summary, more, listed, f"JSON: {json}" if json else ""]
    return _MARKUP.sub(r"\\[", "\n\n".join(filter(None, parts)))


def exit_code_table() -> str:
    """Return the table of exit codes, for the end of `octy --help`."""
    lines = [f"{code.value:>4}  {meaning}" for code, meaning in DESCRIPTIONS.items()]
    return "\b\nExit codes:\n" + "\n".join(lines)
