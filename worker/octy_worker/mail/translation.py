"""Translates the English words for numbers, durations and sources with the host's file `words.toml`.

A line has the English and the translated text, with # for a number: `"# hours" = "# Stunden"`. The line `","` is the
thousands separator. Text that is not in the file stays English.
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
    """Translates words into the host's language."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self._table = table

    @classmethod
    def read(cls, folders: tuple[Path, ...]) -> "Translation":
        """Read the file of the first folder that has one. Raises ConfigurationError when it can't be read."""
        for path in (folder / FILE_NAME for folder in folders):
            if path.exists():
                return cls(_read(path))
        return cls({})

    def translate(self, text: str) -> str:
        """Return the translation of a text, or the text itself when there is none."""
        number = _NUMBER.search(text)
        if number is None:
            return self._table.get(text, text)
        translation = self._table.get(f"{text[: number.start()]}#{text[number.end() :]}")
        if translation is None:
            return text
        return translation.replace("#", number[0].replace(",", self._table.get(",", ",")))

    def translated(self, function: Callable[_Params, str]) -> Callable[_Params, str]:
        """Return a function that translates the result of `function`."""

        def translated(*args: _Params.args, **kwargs: _Params.kwargs) -> str:
            return self.translate(function(*args, **kwargs))

        return translated


def _read(path: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:  # of TOML, of UTF-8
        raise ConfigurationError(f"OCTY_MAIL_TEMPLATES: {path} can't be read: {error}") from None
    invalid = [name for name, text in table.items() if not isinstance(text, str)]
    if invalid:
        raise ConfigurationError(f"OCTY_MAIL_TEMPLATES: {path}: {invalid[0]!r} is not a text in quotation marks")
    return table
