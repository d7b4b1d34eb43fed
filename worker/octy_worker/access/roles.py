"""PURE. The roles of staff, the actions that change something, and which role each needs."""

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a staff member may do. Each role includes those before it."""

    VIEWER = "viewer"  # reads
    RESPONDER = "responder"  # answers customers
    KEY_ADMIN = "key_admin"  # replaces and revokes keys
    ADMIN = "admin"  # decides about staff

    def includes(self, other: "Role") -> bool:
        """Return whether this role may do what `other` may do."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}


class Action(StrEnum):
    """What an order can be about. The value is part of what is signed: never change one."""

    DECIDE = "incident.decide"
    DECIDE_MANY = "incident.decide-many"
    EXTEND = "incident.extend"
    RESEND = "incident.resend"
    AMEND = "incident.amend"
    RELEASE_ALERTS = "alerts.release"
    RETRY_OUTBOX = "outbox.retry"
    RETRY_WEBHOOKS = "webhooks.retry"
    TEST_WEBHOOK = "webhooks.test"
    RESEND_KEYS = "keys.resend"
    REGENERATE = "keys.regenerate"
    REVOKE = "keys.revoke"
    IMPORT = "keys.import"
    ADD_ACCOUNT = "accounts.add"
    CHANGE_ACCOUNT = "accounts.change"
    ERASE_ACCOUNT = "accounts.erase"
    SHOW_WEBHOOK_SECRET = "webhooks.secret"  # noqa: S105  # a name
    ROTATE_WEBHOOK_SECRET = "webhooks.rotate-secret"  # noqa: S105  # a name
    APPROVE = "order.approve"
    ACKNOWLEDGE = "order.acknowledge"
    ADD_STAFF = "staff.add"
    CHANGE_ROLE = "staff.role"
    DISABLE_STAFF = "staff.disable"
    RESET_FACTOR = "staff.reset-factor"
    EXPORT_AUDIT = "audit.export"


REQUIRED_ROLES: dict[Action, Role] = {
    Action.DECIDE: Role.RESPONDER,
    Action.DECIDE_MANY: Role.RESPONDER,
    Action.EXTEND: Role.RESPONDER,
    Action.RESEND: Role.RESPONDER,
    Action.AMEND: Role.RESPONDER,
    Action.RELEASE_ALERTS: Role.RESPONDER,
    Action.RETRY_OUTBOX: Role.RESPONDER,
    Action.RETRY_WEBHOOKS: Role.RESPONDER,
    Action.TEST_WEBHOOK: Role.RESPONDER,
    Action.RESEND_KEYS: Role.RESPONDER,
    Action.REGENERATE: Role.KEY_ADMIN,
    Action.REVOKE: Role.KEY_ADMIN,
    Action.IMPORT: Role.KEY_ADMIN,
    Action.ADD_ACCOUNT: Role.KEY_ADMIN,
    Action.CHANGE_ACCOUNT: Role.KEY_ADMIN,
    Action.ERASE_ACCOUNT: Role.KEY_ADMIN,
    Action.SHOW_WEBHOOK_SECRET: Role.KEY_ADMIN,
    Action.ROTATE_WEBHOOK_SECRET: Role.KEY_ADMIN,
    Action.APPROVE: Role.RESPONDER,  # and that of the approved order's action
    Action.ACKNOWLEDGE: Role.ADMIN,
    Action.ADD_STAFF: Role.ADMIN,
    Action.CHANGE_ROLE: Role.ADMIN,
    Action.DISABLE_STAFF: Role.ADMIN,
    Action.RESET_FACTOR: Role.ADMIN,
    Action.EXPORT_AUDIT: Role.ADMIN,
}
"""The smallest role that may order an action, without regard to its fields: see `required_role`."""


def required_role(action: Action, fields: Mapping[str, object]) -> Role:
    """Return the smallest role that may order an action with these fields.

    `leaked` retires a key pair at once, as `keys.revoke` does, so that every value but false needs the same role.
    """
    needed = REQUIRED_ROLES[action]
    reports_leak = fields.get("leaked", False) is not False
    return Role.KEY_ADMIN if reports_leak and Role.KEY_ADMIN.includes(needed) else needed
