"""An example app with a leak: unknown keys take longer. To see that the timing test would find one. Here: the leak."""

import os
import time

from octy_middleware.keyring import Keyring
from octy_middleware.records import KeyRecord

_look_up = Keyring.look_up


def _telling(keyring: Keyring, public_key: str) -> KeyRecord | None:
    record = _look_up(keyring, public_key)
    if record is None:
        time.sleep(float(os.environ["LEAK"]))
    return record


Keyring.look_up = _telling  # type: ignore[method-assign]

from starlette_app import app  # noqa: E402, F401 - after the leak is in
