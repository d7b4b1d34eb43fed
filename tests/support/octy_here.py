"""Commands of the embedded stack's staff, run in this process: a tenth of the CPU of one of its own. No tests here."""

from collections.abc import Mapping, Sequence

from octy_worker.dev.processes import ProcessError
from support.cli_rig import Octy


def run_octy_here(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Do what `octy_worker.dev.staff_member.run_octy` does; `test_whole_stack` has it as it is."""
    octy = Octy({name: value for name, value in environment.items() if name.startswith("OCTY_")})
    done = octy(*words)
    if done.code != 0:
        raise ProcessError(f"octy {words[0]} ended with {done.code}: {done.stdout}{done.stderr}")
    return done.stdout
