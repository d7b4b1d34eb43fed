"""Our words for numbers, lengths of time and places, in the host's language.

Here: the table that a host may give, `words.toml`. Not here: the English words (`octy_worker.formatting`, `phrasing`),
sentences (the templates).

A line of the table has our words and theirs, with # for a number: `"# hours" = "# Stunden"`. The line `","` tells what
stands between thousands. What is not in the table stays English.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec

from octy_middleware.errors import ConfigurationError

FILE_NAME = "words.toml"
_NUMBER = re.compile(r"\d[\d,]*")
_Params = ParamSpec("_Params")


class Translation:
    """Says our words in the host's language."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self._table = table

    @classmethod
    def read(cls, folders: tuple[Path, ...]) -> "Translation":
        """Read the table of the first folder that has one; raise ConfigurationError when it can't be read."""
        for path in (folder / FILE_NAME for folder in folders):
            if path.exists():
                return cls(_read(path))
        return cls({})

    def translate(self, text: str) -> str:
        """Return the host's words for ours, or ours when the table has none."""
        number = _NUMBER.search(text)
        if number is None:
            return self._table.get(text, text)
        theirs = self._table.get(f"{text[: number.start()]}#{text[number.end() :]}")
        if theirs is None:
            return text
        return theirs.replace("#", number[0].replace(",", self._table.get(",", ",")))

    def translated(self, words: Callable[_Params, str]) -> Callable[_Params, str]:
        """Return a function that says in the host's language what `words` says."""

        def said(*args: _Params.args, **kwargs: _Params.kwargs) -> str:
            return self.translate(words(*args, **kwargs))

        return said


def _read(path: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:  # of TOML, of UTF-8
        raise ConfigurationError(f"OCTY_MAIL_TEMPLATES: {path} can't be read: {error}") from None
    odd = [name for name, words in table.items() if not isinstance(words, str)]
    if odd:
        raise ConfigurationError(f"OCTY_MAIL_TEMPLATES: {path}: {odd[0]!r} is no text in quotation marks")
    return table
