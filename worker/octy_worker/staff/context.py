"""What the runners of queries and acts work with: database, settings, Temporal, clock; each is opened when needed."""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, BinaryIO, TypeVar

from sqlmodel import Session

from octy_middleware.clock import Clock, RandomBytes, uuid7
from octy_middleware.db.database import Database
from octy_middleware.domain.installation import installation_id
from octy_middleware.errors import ConfigurationError
from octy_middleware.settings import BaseSettings
from octy_worker.access.orders import Order
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.staff_settings import StaffAccess, load_receipts, load_staff_access
from octy_worker.settings import StaffSettings, TemporalAccess
from octy_worker.staff.json_values import to_json

_Settings = TypeVar("_Settings", bound=BaseSettings)
_Output = TypeVar("_Output")


class StaffContext:
    """One installation, as a command on its host or the staff API reaches it.

    `variables`: OCTY_* and TEMPORAL_* settings; each runner reads those that it needs. The caller closes the database.
    """

    def __init__(
        self,
        database: Database,
        variables: Mapping[str, str],
        *,
        clock: Clock = time.time,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self.database = database
        self.variables = variables
        self.clock = clock
        self.random_bytes = random_bytes
        self.timeout = 20.0  # seconds to wait for the answer of a workflow
        self.attachment: BinaryIO | None = None  # a file that a command on this host has opened
        self.kept = ""  # id of the last order whose output was kept
        self.on_progress: Callable[[Any], None] = lambda _result: None  # called with each part of a long act's output

    def settings(self, kind: type[_Settings]) -> _Settings:
        """Return the settings of this kind. Raises ConfigurationError."""
        return kind.from_environment(self.variables)

    @cached_property
    def installation(self) -> str:
        """The installation's id."""
        return installation_id(self.database)

    @cached_property
    def access(self) -> StaffAccess:
        """What judges staff. Raises ConfigurationError, also where OCTY_STAFF_KEYS is not set."""
        access = load_staff_access(self.settings(StaffSettings), self.installation, self.random_bytes)
        if access is None:
            raise ConfigurationError(
                "OCTY_STAFF_KEYS is not set, so there is no staff → set the OCTY_STAFF_KEYS that `octy secrets` prints"
            )
        return access

    @cached_property
    def receipts(self) -> OrderReceipts:
        """What receives orders. Raises ConfigurationError where the settings can't judge staff."""
        return load_receipts(self.settings(StaffSettings), self.installation, self.random_bytes)

    def use(self, session: Session, order: Order) -> None:
        """Mark an order as used, in the transaction of its act. Raises RefusedSignatureError."""
        call = uuid7(self.clock(), self.random_bytes)  # each call is another one: what is done twice must be ordered so
        self.receipts.use(session, order.order_id, order.action, order.subject, by=call, now=self.clock())

    def keep(self, session: Session, order: Order, output: _Output) -> _Output:
        """Keep what an act has done, in its transaction, for a repeat of its order; return it."""
        self.receipts.keep_output(session, order.order_id, json.dumps(to_json(type(output), output)))
        self.kept = order.order_id
        return output

    @cached_property
    def temporal(self) -> TemporalAccess:
        """How Temporal is reached."""
        return TemporalAccess.from_environment(self.variables)
