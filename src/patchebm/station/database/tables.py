"""This module names every table in one place, for the migrations and for those who need several."""

from __future__ import annotations

from patchebm.station.database.base import Base
from patchebm.station.database.history import (
    Inspection,
    JoinedPart,
    MissedPart,
    OutboxMessage,
    Output,
    Review,
    SourceFile,
)
from patchebm.station.database.people import ApiToken, AuditEntry, LoginSession, Setting, User
from patchebm.station.database.products import (
    Activation,
    Calibration,
    DriftState,
    ModelVersion,
    Product,
    Source,
    TrainingJob,
)

__all__ = [
    "Activation",
    "ApiToken",
    "AuditEntry",
    "Base",
    "Calibration",
    "DriftState",
    "Inspection",
    "JoinedPart",
    "LoginSession",
    "MissedPart",
    "ModelVersion",
    "OutboxMessage",
    "Output",
    "Product",
    "Review",
    "Setting",
    "Source",
    "SourceFile",
    "TrainingJob",
    "User",
]
