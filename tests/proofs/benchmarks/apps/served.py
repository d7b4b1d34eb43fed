"""What a server imports: the contender of the environment variable BENCH_CONTENDER."""

import os
from pathlib import Path

from octy_middleware import Settings
from proofs.benchmarks.apps.bare import CONTROL, Bare, Unrecorded
from proofs.benchmarks.apps.contenders import BY_NAME, Setup
from proofs.benchmarks.apps.left_out import LEFT_OUT


def _build() -> object:
    name, settings = os.environ["BENCH_CONTENDER"], Settings.from_environment()
    public_key = os.environ["BENCH_PUBLIC_KEY"]
    if name == CONTROL:
        return Unrecorded(Bare(), settings, public_key, os.environ["BENCH_DIGEST"])
    folder, secret = Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_SECRET"]
    contender = BY_NAME.get(name) or LEFT_OUT[name]
    return contender.build(Setup(settings, public_key, secret, os.environ["BENCH_AUTHORIZATION"], folder))


app = _build()
