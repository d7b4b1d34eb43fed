"""How help texts are laid out: what a command does, examples to copy, the names of its JSON."""

import re

from octy_worker.cli.exits import MEANING

_MARKUP = re.compile(r"\[(?=[a-z#/@])")


def teach(what: str, *examples: str, json: str = "") -> str:
    """Return a help text. Examples stand on lines of their own; `json` names the keys of `--json`."""
    parts = [" ".join(what.split())]
    if examples:
        parts.append("\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples))
    if json:
        parts.append(f"JSON: {json}")
    return _MARKUP.sub(r"\\[", "\n\n".join(parts))


def exit_codes() -> str:
    """Return the table of exit codes, for the end of the first help page."""
    lines = [f"{code.value:>4}  {meaning}" for code, meaning in MEANING.items()]
    return "\b\nExit codes:\n" + "\n".join(lines)
