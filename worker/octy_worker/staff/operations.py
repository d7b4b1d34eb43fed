"""What staff can read and order, in one form for every interface: command, staff API, console.

A `Query` reads. An `Act` is carried out by an order (`access.orders`), by any person and any way. Their
runners are named by text and imported when they run: this module and `queries` and `acts` load neither the Temporal SDK
nor a database, so that `octy --server URL` works without them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from octy_worker.access.roles import Action, Role
from octy_worker.canonical_json import JsonValue

if TYPE_CHECKING:
    from octy_worker.access.orders import Order
    from octy_worker.staff.context import StaffContext


class Fields:
    """Base of the frozen dataclasses with the parameters of an order: JSON values without floats."""

    __slots__ = ()

    def error(self) -> str | None:
        """Return why they are invalid, or None. The text repeats no input."""
        return None


@dataclass(frozen=True, slots=True)
class NoFields(Fields):
    """Fields of an order whose subject says everything."""


I = TypeVar("I")  # noqa: E741  # input
F = TypeVar("F", bound=Fields)
O = TypeVar("O")  # noqa: E741  # output
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Nothing:
    """Input of a query that takes none."""


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A part of a list, and how many rows there are in total."""

    rows: tuple[T, ...]
    total: int


@dataclass(frozen=True)
class Query(Generic[I, O]):
    """A read. `input` and `output` are frozen dataclasses, JSON by pydantic; `runner`: "module:function"."""

    name: str  # "incidents.list"
    input: type[I]
    output: type[O]
    runner: str  # (StaffContext, I) -> O
    role: Role = Role.VIEWER  # the smallest one that may read it

    def run(self, context: "StaffContext", value: I) -> O:
        """Read. Raises CommandError or OctyError."""
        found: O = _load(self.runner)(context, value)
        return found


@dataclass(frozen=True)
class Act(Generic[F, O]):
    """What can be ordered.

    `private`: fields with personal data. An order holds commitments to them, and they travel beside it (`Submission`).
    `for_author`: after a second person's approval the author repeats it, because the output is for the author alone.
    `resumes`: a call with a used order goes on where an earlier one ended. Every other act keeps its output with its
    order (`StaffContext.keep`), unless it is for its author alone.
    """

    action: Action
    fields: type[F]
    output: type[O]
    runner: str  # (StaffContext, Order, F) -> O; uses the order in the transaction of the act, or sends its id
    private: frozenset[str] = field(default_factory=frozenset)
    for_author: bool = False
    resumes: bool = False
    on_refusal: str = ""  # (StaffContext, RefusedOrder[F]) -> None: records it where staff looks for it

    @property
    def keeps_output(self) -> bool:
        """Whether a used order has the output of its act."""
        return not (self.for_author or self.resumes)

    def run(self, context: "StaffContext", order: "Order", fields: F) -> O:
        """Carry out a received order. Raises CommandError or OctyError; then nothing was changed."""
        done: O = _load(self.runner)(context, order, fields)
        return done

    def refused(self, context: "StaffContext", refused: "RefusedOrder[F]") -> None:
        """Record a refused order beside the audit log."""
        if self.on_refusal:
            _load(self.on_refusal)(context, refused)


@dataclass(frozen=True, slots=True)
class RefusedOrder(Generic[F]):
    """An order that was refused. Before its receipt actor and reason may be invalid.

    `order_id` is empty before its receipt: the id that was given may be that of another order.
    """

    order_id: str
    subject: str
    actor: str
    reason: str
    fields: F
    why: str


@dataclass(frozen=True, slots=True)
class Submission:
    """What is handed in: the canonical bytes of an order, how it is proven, and its private fields.

    `signature`: armored SSH signature, with `code`, a one-time password, unless the key verifies its user. Both are
    empty when an order that was received before is carried out again. `private`: salt (hex) and JSON value by name.
    """

    body: str
    signature: str = ""
    code: str = ""
    private: Mapping[str, tuple[str, JsonValue]] = field(default_factory=dict)


class ReadingDesk(Protocol):
    """What a command reads from: the host's database, or a staff API.

    `on_progress` is called with each part of a long output, where they can be had before its end.
    """

    on_progress: Callable[[Any], None]

    def read(self, query: Query[I, O], value: I) -> O:
        """Return what a query found. Raises CommandError or OctyError."""


class Desk(ReadingDesk, Protocol):
    """What a command that places an order talks to: the host's database and Temporal, or a staff API.

    It places one order. Its id is the one that the command was given (`--order-id`), which repeats the order of this id
    or makes one with it; else a new one.
    """

    @property
    def actor(self) -> str:
        """Who acts: the handle of the certificate; with staff_auth off, any name."""

    @property
    def order_id(self) -> str:
        """The id of its order."""

    def find_order(self) -> "Order | None":
        """Return the order that is repeated; None: there is none of the given id yet. Raises RefusedError."""

    def order(self, act: Act[F, O], subject: str, fields: F, reason: str, *, timeout: float = 20.0) -> O:
        """Make, prove and hand in the order; return what it did. Raises CommandError or OctyError.

        `timeout`: seconds to wait for a workflow. Raises WaitsForApprovalError where a second person is needed.
        """

    def hand_in(self, act: Act[F, Any], subject: str, fields: F, reason: str) -> str:
        """Have the order received only, and return its id, which somebody then sends to its workflow."""


def _load(runner: str) -> Any:
    module, _, name = runner.partition(":")
    return getattr(import_module(module), name)
