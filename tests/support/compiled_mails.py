"""The built-in mail templates, compiled once for all workers of a test process.

A worker compiles all mail templates before it starts, which took most of the time of tests that only make one.
"""

from collections import defaultdict
from pathlib import Path

from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket

from octy_worker.mail import renderer
from octy_worker.settings import WorkerSettings


class _CompiledTemplates(BytecodeCache):
    """Keeps the code of templates in memory, by name, file and source."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], object] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


def share_compiled_mails() -> None:
    """Give all environments of a language one cache. A host's words are compiled in, so with them there is none."""
    real, compiled = renderer.build_environment, defaultdict[str, _CompiledTemplates](_CompiledTemplates)

    def build(settings: WorkerSettings) -> Environment:
        environment = real(settings)
        if not settings.mail_templates or not any(Path(settings.mail_templates).rglob("words.toml")):
            environment.bytecode_cache = compiled[settings.mail_language]
        return environment

    renderer.build_environment = build
