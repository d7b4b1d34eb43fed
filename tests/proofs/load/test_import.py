"""An import of many key pairs at the pace of this machine. A small one: `worker/imports/test_imports.py`."""

from support.imports_rig import import_in_steps
from support.world import World

from octy_middleware.states import KeyPairState
from octy_worker.domain.step_pacer import MAX_ROWS


def test_import_of_6000_key_pairs_has_no_long_transaction(world: World) -> None:
    sizes, updates = import_in_steps(world, 6_000)
    assert 20 < max(sizes) <= MAX_ROWS
    assert updates == 1
    assert world.rows("SELECT state, COUNT(*) FROM key_pair GROUP BY state") == [(KeyPairState.ACTIVE, 6_000)]
