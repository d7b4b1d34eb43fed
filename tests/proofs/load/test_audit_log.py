"""The measurement of the audit log's verification, in short: that it verifies what it measures."""

import pytest
from support.world import World

from octy_worker.audit import repository
from octy_worker.audit.chain import ChainError, verify_chain
from proofs.load import audit_log


def test_measured_log_is_one_that_verification_checks(world: World) -> None:
    assert audit_log.measure(world, 3000, required=1).faults == []
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit_entry SET actor = 'eve' WHERE seq = 2999")
    with world.database.read_session() as session, pytest.raises(ChainError, match="entry 2999: "):
        verify_chain(repository.entries(session))
