"""Leases: several relays share the outbox, and one worker at a time does a job. Counts of a case have 64 bits."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("leased_by", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("outbox", sa.Column("leased_until", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_outbox_subject",
        "outbox",
        ["subject_id", "id"],
        sqlite_where=sa.text("delivered_at IS NULL"),
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.create_table(
        "job",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=True),
        sa.Column("cursor", sa.String(length=300), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job")),
    )
    op.create_table(
        "app_process",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("host", sa.String(length=100), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("release", sa.String(length=20), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("lost", sa.BigInteger(), nullable=False),
        sa.Column("commit_micros", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.String(), nullable=False),
        sa.Column("failed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_app_process")),
    )
    _alter_counts(sa.BigInteger(), "{}")


def downgrade() -> None:
    _alter_counts(sa.Integer(), "LEAST({}, 2147483647)")
    op.drop_table("app_process")
    op.drop_table("job")
    op.drop_index("ix_outbox_subject", "outbox")
    op.drop_column("outbox", "leased_until")
    op.drop_column("outbox", "leased_by")


def _alter_counts(kind: sa.Integer, value: str) -> None:
    """An attack of a day can count beyond 32 bits; any integer of SQLite holds that already."""
    if op.get_bind().dialect.name != "sqlite":
        for name in ("length", "failures", "notify_at"):
            op.alter_column("incident", name, type_=kind, postgresql_using=value.format(name))
