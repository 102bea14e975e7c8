"""Projects, rounds and their steps, models, label tasks, gate reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "mir_projects",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mir_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_mir_projects_name")),
    )
    op.create_table(
        "mir_rounds",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("deployment", sa.String(), nullable=False),
        sa.Column("dag_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("open_project", sa.Integer(), nullable=True),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("conf", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("record", sa.String(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["mir_projects.id"], name=op.f("fk_mir_rounds_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mir_rounds")),
        sa.UniqueConstraint(
            "deployment", "dag_id", "run_id", name=op.f("uq_mir_rounds_deployment_dag_id_run_id")
        ),
        sa.UniqueConstraint("open_project", name=op.f("uq_mir_rounds_open_project")),
        sa.UniqueConstraint("project_id", "number", name=op.f("uq_mir_rounds_project_id_number")),
    )
    op.create_index(op.f("ix_mir_rounds_run_id"), "mir_rounds", ["run_id"], unique=False)

    op.create_table(
        "mir_gate_reports",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("op_id", sa.String(), nullable=False),
        sa.Column("blocked", sa.Boolean(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("json_blob", sa.String(), nullable=False),
        sa.Column("html_blob", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"], ["mir_rounds.id"], name=op.f("fk_mir_gate_reports_round_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mir_gate_reports")),
        sa.UniqueConstraint(
            "round_id", "stage", "op_id", name=op.f("uq_mir_gate_reports_round_id_stage_op_id")
        ),
    )
    op.create_index(
        op.f("ix_mir_gate_reports_round_id"), "mir_gate_reports", ["round_id"], unique=False
    )

    op.create_table(
        "mir_label_tasks",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("op_id", sa.String(), nullable=False),
        sa.Column("backend", sa.String(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("requested", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("last_activity", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"], ["mir_rounds.id"], name=op.f("fk_mir_label_tasks_round_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mir_label_tasks")),
        sa.UniqueConstraint("op_id", name=op.f("uq_mir_label_tasks_op_id")),
    )
    op.create_index(
        op.f("ix_mir_label_tasks_round_id"), "mir_label_tasks", ["round_id"], unique=False
    )

    op.create_table(
        "mir_models",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("op_id", sa.String(), nullable=False),
        sa.Column("model_id", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("package", sa.String(), nullable=False),
        sa.Column("log", sa.String(), nullable=True),
        sa.Column("training", sa.String(), nullable=False),
        sa.Column("image", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("config", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("training_metrics", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("predictions", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["mir_projects.id"], name=op.f("fk_mir_models_project_id")
        ),
        sa.ForeignKeyConstraint(
            ["round_id"], ["mir_rounds.id"], name=op.f("fk_mir_models_round_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mir_models")),
        sa.UniqueConstraint("op_id", name=op.f("uq_mir_models_op_id")),
    )
    op.create_index(op.f("ix_mir_models_model_id"), "mir_models", ["model_id"], unique=False)
    op.create_index(op.f("ix_mir_models_project_id"), "mir_models", ["project_id"], unique=False)
    op.create_index(op.f("ix_mir_models_round_id"), "mir_models", ["round_id"], unique=False)

    op.create_table(
        "mir_round_steps",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("op_id", sa.String(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("percent", sa.Double(), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["round_id"], ["mir_rounds.id"], name=op.f("fk_mir_round_steps_round_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mir_round_steps")),
        sa.UniqueConstraint(
            "round_id", "step", "op_id", name=op.f("uq_mir_round_steps_round_id_step_op_id")
        ),
    )
    op.create_index(
        op.f("ix_mir_round_steps_round_id"), "mir_round_steps", ["round_id"], unique=False
    )


def downgrade() -> None:
    op.drop_table("mir_round_steps")
    op.drop_table("mir_models")
    op.drop_table("mir_label_tasks")
    op.drop_table("mir_gate_reports")
    op.drop_table("mir_rounds")
    op.drop_table("mir_projects")
