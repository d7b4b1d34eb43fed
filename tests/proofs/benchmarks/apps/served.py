"""What a server imports: the contender that BENCH_CONTENDER names, by variables that the bench sets.

Here: variables -> app. Not here: the contenders.
"""

import os
from pathlib import Path

from octy_middleware import Settings
from proofs.benchmarks.apps.asgi_apps import Bare
from proofs.benchmarks.apps.contenders import BY_NAME, Site
from proofs.benchmarks.apps.control import CONTROL, Unrecorded


def _build() -> object:
    name, settings = os.environ["BENCH_CONTENDER"], Settings.from_environment()
    public_key = os.environ["BENCH_PUBLIC_KEY"]
    if name == CONTROL:
        return Unrecorded(Bare(), settings, public_key, os.environ["BENCH_DIGEST"])
    folder, secret = Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_SECRET"]
    site = Site(settings, public_key, secret, os.environ["BENCH_AUTHORIZATION"], folder)
    return BY_NAME[name].build(site)


app = _build()
