"""How short a company lets PINs be."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("company_choice", sa.Column("minimum_pin_digits", sa.Integer(), nullable=True))
