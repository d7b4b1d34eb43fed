"""An example app with a leak: unknown keys take longer. To see that the timing test would find one. Here: the leak."""

import os
import time
from typing import Any

from octy_middleware import Outcome
from octy_middleware.auth.decisions import Decisions
from octy_middleware.http.decision import AuthDecision

_refuse = Decisions.refuse


def _telling(endings: Decisions, outcome: Outcome, *rest: Any) -> AuthDecision:
    if outcome is Outcome.UNKNOWN_KEY:
        time.sleep(float(os.environ["LEAK"]))
    return _refuse(endings, outcome, *rest)


Decisions.refuse = _telling  # type: ignore[method-assign]

from starlette_app import app  # noqa: E402, F401 - after the leak is in
