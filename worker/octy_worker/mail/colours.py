"""The colours of mails: the host's settings, and the text and dark-mode colours derived from them."""

from dataclasses import dataclass

from octy_worker.settings import WorkerSettings

_WHITE, _INK = "#ffffff", "#1b2430"
_READABLE_ON_WHITE = 0.32  # maximum relative luminance for white text of a button's size (contrast about 3:1)


@dataclass(frozen=True, slots=True)
class Palette:
    """`accent`: buttons and links. `alert`: failed attempts. `calm`: no danger."""

    accent: str
    alert: str
    calm: str

    @classmethod
    def of(cls, settings: WorkerSettings) -> "Palette":
        """Return the colours of the settings."""
        return cls(settings.mail_accent_colour, settings.mail_alert_colour, settings.mail_calm_colour)

    @property
    def on_accent(self) -> str:
        """Text colour of a button."""
        return text_colour_on(self.accent)

    @property
    def dark_accent(self) -> str:
        """Button colour in dark mode."""
        return mix(self.accent, _WHITE, 0.14)

    @property
    def on_dark_accent(self) -> str:
        """Text colour of a button in dark mode."""
        return text_colour_on(self.dark_accent)

    @property
    def dark_link(self) -> str:
        """Link colour in dark mode."""
        return mix(self.accent, _WHITE, 0.5)

    @property
    def dark_alert(self) -> str:
        """Colour of the plot's bars in dark mode."""
        return mix(self.alert, _WHITE, 0.25)


def mix(colour: str, other: str, share: float) -> str:
    """Return `colour` mixed with a share (0 to 1) of `other`."""
    channels = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(one + (two - one) * share):02x}" for one, two in channels)


def text_colour_on(colour: str) -> str:
    """Return white or a dark colour, whichever is readable on this colour."""
    return _WHITE if _luminance(colour) <= _READABLE_ON_WHITE else _INK


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    red, green, blue = (_linear(channel / 255) for channel in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return float(channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004  # sRGB
