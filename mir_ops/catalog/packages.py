"""Model packages, and the names that models are promoted to."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, select

from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.tables import PackageRow, PromotionRow, utc_now
from mir_ops.catalog.values import Package, Promotion
from mir_ops.errors import InvalidInputError, NotFoundError

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
        """Register a model; known already, the first answer stays, but for one that failed."""
        with writing(self.engine) as session:
            row = session.scalar(select(PackageRow).where(PackageRow.model_id == model_id))
            if row is None or (row.state == "failed" and state == "ready"):
                row = row or PackageRow(model_id=model_id, created_at=utc_now())
                row.package, row.classes, row.object_type = package, [*classes], object_type
                row.stages = {name: dict(metrics) for name, metrics in stages.items()}
                row.best_stage, row.state, row.origin = best_stage, state, dict(origin)
                session.add(row)
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

    def list(self) -> builtins.list[Package]:
        """All models in the order of their coming."""
        with reading(self.engine) as session:
            return [_package(row) for row in session.scalars(select(PackageRow).order_by("id"))]

    def promote(self, name: str, model_id: str, stage: str) -> Promotion:
        """Let a name mean this stage from now on."""
        if not _NAME.fullmatch(name) or _PREFIX.fullmatch(name):
            raise InvalidInputError(
                f"`{name}` cannot be a model's name",
                code="bad-model-name",
                hint="Use small letters, digits, `-` and `_`, and not only digits of an id",
            )
        with writing(self.engine) as session:
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
    )


def _promotion(row: PromotionRow) -> Promotion:
    return Promotion(
        name=row.name, model_id=row.model_id, stage=row.stage, promoted_at=row.promoted_at
    )
