"""An example app in which unknown keys take longer, to show that the timing test finds that."""

import os
import time
from typing import Any

from octy_middleware import Outcome
from octy_middleware.auth.decisions import Decisions
from octy_middleware.http.decision import AuthDecision

_refuse = Decisions.refuse


def _slow_refuse(decisions: Decisions, outcome: Outcome, *rest: Any) -> AuthDecision:
    if outcome is Outcome.UNKNOWN_KEY:
        time.sleep(float(os.environ["LEAK"]))
    return _refuse(decisions, outcome, *rest)


Decisions.refuse = _slow_refuse  # type: ignore[method-assign]

from starlette_app import app  # noqa: E402, F401 - after the fault is in
