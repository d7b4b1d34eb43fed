"""The host's first tables."""

import sqlalchemy as sa
from alembic import op
from models import PREFIX

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        f"{PREFIX}account",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False, unique=True),
    )
    for table, text in (("job", "title"), ("mail", "subject")):
        op.create_table(
            f"{PREFIX}{table}",
            sa.Column("id", sa.Integer(), primary_key=True),
            sa.Column(text, sa.String(), nullable=False),
            sa.Column("account_id", sa.Integer(), sa.ForeignKey(f"{PREFIX}account.id"), nullable=False),
        )


def downgrade():
    for table in ("mail", "job", "account"):
        op.drop_table(f"{PREFIX}{table}")
