"""Model packages, and the names that models are promoted to."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.tables import PackageRow, PromotionRow, utc_now
from mir_ops.catalog.values import Package, Promotion
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError

_PREFIX: Final = re.compile(r"[0-9a-f]{4,64}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class Packages:
    """Every model that was trained here or imported, one row for each model id."""

    engine: Engine

    def add(
        self,
        *,
        model_id: str,
        package: str,
        classes: tuple[str, ...],
        object_type: int,
        stages: Mapping[str, Mapping[str, float]],
        best_stage: str,
        origin: Mapping[str, Any],
        state: str = "ready",
    ) -> Package:
        """Register a model; known already, the first answer stays, but for one that failed.

        One that was deleted is in the lists again.
        """
        with writing(self.engine) as session:
            row = session.scalar(select(PackageRow).where(PackageRow.model_id == model_id))
            if row is None or (row.state == "failed" and state == "ready"):
                row = row or PackageRow(
                    model_id=model_id, created_at=utc_now(), title="", description=""
                )
                row.package, row.classes, row.object_type = package, [*classes], object_type
                row.stages = {name: dict(metrics) for name, metrics in stages.items()}
                row.best_stage, row.state, row.origin = best_stage, state, dict(origin)
                session.add(row)
            row.deleted_at = None
            session.flush()
            return _package(row)

    def find(self, name: str) -> Package | None:
        """The model of an id, or of the start of one that only one model has."""
        if not _PREFIX.fullmatch(name):
            return None
        with reading(self.engine) as session:
            query = select(PackageRow).where(PackageRow.model_id.startswith(name)).limit(2)
            found = session.scalars(query).all()
            if len(found) > 1:
                raise InvalidInputError(
                    f"More than one model id starts with `{name}`",
                    code="ambiguous-model",
                    hint="Give more digits; `mir models list` shows them",
                )
            return _package(found[0]) if found else None

    def list(self, *, deleted: bool = False) -> builtins.list[Package]:
        """All models in the order of their coming: those that live, or those that were deleted."""
        gone = PackageRow.deleted_at
        query = select(PackageRow).where(gone.is_not(None) if deleted else gone.is_(None))
        with reading(self.engine) as session:
            return [_package(row) for row in session.scalars(query.order_by(PackageRow.id))]

    def change(
        self,
        model_id: str,
        *,
        title: str | None = None,
        description: str | None = None,
        best_stage: str | None = None,
    ) -> Package:
        """What people call the model and say of it, and the stage it goes by; None: as it is."""
        with writing(self.engine) as session:
            row = _row(session, model_id)
            if best_stage is not None and best_stage not in row.stages:
                raise NotFoundError(
                    f"Model `{model_id[:12]}` has no stage `{best_stage}`",
                    code="no-such-stage",
                    hint=f"Its stages: {', '.join(row.stages)}",
                )
            row.title = _text("title", title, row.title, most=100)
            row.description = _text("description", description, row.description, most=2000)
            row.best_stage = best_stage or row.best_stage
            session.flush()
            return _package(row)

    def delete(self, model_id: str) -> Package:
        """Take it out of all lists, unless a name means it. Its package is kept."""
        with writing(self.engine) as session:
            row = _row(session, model_id)
            query = select(PromotionRow.name).where(PromotionRow.model_id == row.model_id)
            if name := session.scalar(query):
                raise ConflictError(
                    f"`{name}` is model `{model_id[:12]}`, which cannot be deleted",
                    code="model-is-promoted",
                    hint=f"Promote another model to `{name}` first",
                )
            row.deleted_at = row.deleted_at or utc_now()
            session.flush()
            return _package(row)

    def restore(self, model_id: str) -> Package:
        """Bring a deleted model back, as it was."""
        with writing(self.engine) as session:
            row = _row(session, model_id)
            row.deleted_at = None
            session.flush()
            return _package(row)

    def promote(self, name: str, model_id: str, stage: str) -> Promotion:
        """Let a name mean this stage of a model that is not deleted from now on."""
        if not _NAME.fullmatch(name) or _PREFIX.fullmatch(name):
            raise InvalidInputError(
                f"`{name}` cannot be a model's name",
                code="bad-model-name",
                hint="Use small letters, digits, `-` and `_`, and not only digits of an id",
            )
        with writing(self.engine) as session:
            if _row(session, model_id).deleted_at is not None:
                raise deleted_model(model_id)
            row = session.scalar(select(PromotionRow).where(PromotionRow.name == name))
            row = row or PromotionRow(name=name)
            row.model_id, row.stage, row.promoted_at = model_id, stage, utc_now()
            session.add(row)
            session.flush()
            return _promotion(row)

    def promotion(self, name: str) -> Promotion:
        """What a promoted name means."""
        with reading(self.engine) as session:
            row = session.scalar(select(PromotionRow).where(PromotionRow.name == name))
            if row is None:
                raise NotFoundError(
                    f"No model `{name}`",
                    code="no-such-model",
                    hint="List the models with `mir models list`, or import one with "
                    "`mir models import`",
                )
            return _promotion(row)

    def promotions(self) -> builtins.list[Promotion]:
        """All promoted names."""
        with reading(self.engine) as session:
            rows = session.scalars(select(PromotionRow).order_by(PromotionRow.name))
            return [_promotion(row) for row in rows]


def deleted_model(model_id: str) -> ConflictError:
    """A model that was deleted is asked for."""
    return ConflictError(
        f"Model `{model_id[:12]}` was deleted",
        code="model-is-deleted",
        hint="Restore it with `mir models restore`, or on its page in the console",
    )


def _row(session: Session, model_id: str) -> PackageRow:
    row = session.scalar(select(PackageRow).where(PackageRow.model_id == model_id))
    if row is None:
        raise NotFoundError(f"No model `{model_id[:64]}`", code="no-such-model")
    return row


def _text(name: str, given: str | None, known: str, *, most: int) -> str:
    if given is None:
        return known
    if len(given) > most:
        raise InvalidInputError(
            f"A model's {name} has {most} characters at most, this one {len(given)}",
            code="text-too-long",
            hint="Say it in fewer words",
        )
    return given.strip()


def _package(row: PackageRow) -> Package:
    return Package(
        model_id=row.model_id,
        package=row.package,
        classes=tuple(row.classes),
        object_type=row.object_type,
        stages=row.stages,
        best_stage=row.best_stage,
        state=row.state,
        origin=row.origin,
        created_at=row.created_at,
        title=row.title,
        description=row.description,
        deleted_at=row.deleted_at,
    )


def _promotion(row: PromotionRow) -> Promotion:
    return Promotion(
        name=row.name, model_id=row.model_id, stage=row.stage, promoted_at=row.promoted_at
    )
