"""This module holds the shapes of what REST takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from patchebm.station.database.base import iso
from patchebm.station.roi import MAX_SIDE, MIN_SIDE

Time = Annotated[
    datetime,
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time, as `iso` writes it."""


class Taken(BaseModel):
    """This is the base of what REST takes: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence that names what is wrong and the fix.")


class Roi(Taken):
    """A region of interest: only what lies inside is inspected, in pixels of the upright image."""

    x: int = Field(ge=0, le=MAX_SIDE, description="Of its left edge.")
    y: int = Field(ge=0, le=MAX_SIDE, description="Of its upper edge.")
    width: int = Field(ge=MIN_SIDE, le=MAX_SIDE)
    height: int = Field(ge=MIN_SIDE, le=MAX_SIDE)


class Region(BaseModel):
    """A connected region of the anomaly map that is hotter than what good parts show."""

    area: int = Field(description="In pixels of the upright image.")
    share: float = Field(description="The area as a share of the image.")
    box: tuple[int, int, int, int] = Field(description="Left, top, width and height, in pixels.")
    centre: tuple[float, float] = Field(description="Mean x and y of its pixels.")
    peak: float = Field(description="The largest value of the anomaly map in it.")


class Inspection(BaseModel):
    """A part that was inspected."""

    id: str
    time: Time
    product: str
    source: str
    part: str
    model: int = Field(description="Version of the model that inspected.")
    calibration: int
    verdict: Literal["OK", "NG"]
    score: float = Field(description="Higher is more anomalous; 0 is the mean of good parts.")
    threshold: float
    tail_probability: float = Field(description="Share of good parts that score at least this high.")
    extrapolated: bool
    levels: dict[str, float]
    region_count: int | None = Field(description="Null for parts of before regions were kept.")
    regions: list[Region] | None = Field(
        description="At most 100, that of the highest peak first. The verdict does not depend on them."
    )
    latency_ms: float
    width: int
    height: int
    roi: Roi | None = Field(description="Region of interest that was inspected; null for the whole image.")
    sha256: str
    image: str | None = Field(description="Address of the image; null once it is no longer kept.")
    map: str | None = Field(description="Address of the anomaly map.")
    review: Literal["good", "defective", "unsure"] | None
    defect: str
    idempotency_key: str | None


class JoinedPart(BaseModel):
    """A part of which several views were inspected."""

    id: str
    time: Time
    product: str
    source: str
    part: str
    verdict: Literal["OK", "NG"]
    ng_views: int = Field(description="Number of views that are NG.")
    worst_view: str = Field(description="Of the view with the smallest tail probability; NG comes first.")
    score: float = Field(description="Of the worst view, as are threshold and tail_probability.")
    threshold: float
    tail_probability: float
    idempotency_key: str | None
    views: dict[str, Inspection | None] = Field(description="null for one that was not inspected.")


class JoinedPartPage(BaseModel):
    """A page of parts of which several views were inspected."""

    items: list[JoinedPart]
    next: str | None = Field(description="`cursor` of the next page; null on the last.")


class InspectionPage(BaseModel):
    """A page of parts."""

    items: list[Inspection]
    next: str | None = Field(description="`cursor` of the next page; null on the last.")


class Missed(BaseModel):
    """A part that came and was not inspected."""

    id: str
    time: Time
    product: str
    source: str
    part: str
    idempotency_key: str | None
    reason: str
    message: str
    inspection: str | None = Field(description="Set when it was sent again and inspected.")


class MissedPage(BaseModel):
    """A page of parts that were not inspected."""

    items: list[Missed]
    next: str | None
    open: dict[str, int] = Field(description="Number of parts that were never inspected, by reason.")


class NewReview(Taken):
    """What a person says of a part."""

    verdict: Literal["good", "defective", "unsure"]
    defect: str = Field("", max_length=64)
    note: str = Field("", max_length=500)


class Review(BaseModel):
    """What a person said of a part."""

    id: int
    inspection: str
    time: Time
    actor: str
    verdict: str
    defect: str
    note: str


class Calibration(BaseModel):
    """What turns a model's scores into verdicts."""

    id: int
    model: int
    method: Literal["bundle", "recalibrated", "threshold"]
    status: Literal["active", "proposed", "rejected"]
    in_force: bool
    false_alarm_rate: float
    threshold: float
    parts: int
    note: str
    created: Time
    created_by: str
    approved: Time | None
    approved_by: str | None


class NewCalibration(Taken):
    """A calibration that is wanted: exactly one of `threshold`, `false_alarm_rate` or `from_reviews`."""

    model: int | None = Field(None, description="Version; the active one if left out.", ge=1, le=2**31 - 1)
    threshold: float | None = Field(None, description="Scores above it are NG.", allow_inf_nan=False)
    false_alarm_rate: float | None = Field(None, gt=0, lt=1)
    from_reviews: bool = Field(
        False, description="Learn again from parts that were reviewed as good; takes `false_alarm_rate`, too."
    )
    note: str = Field("", max_length=200)


class Model(BaseModel):
    """A version of a product's model."""

    version: int
    active: bool
    sha256: str
    size: int
    note: str
    levels: list[str]
    format: str
    precision: str
    parity: dict[str, Any] = Field(
        description="How far its scores were from the model's it was exported from."
    )
    created: Time
    created_by: str
    calibration: Calibration


class Activation(BaseModel):
    """A change of the model that inspects."""

    time: Time
    actor: str
    version: int


class Product(BaseModel):
    """A kind of part."""

    name: str
    title: str
    roi: Roi | None = Field(description="Region of interest; null for the whole image.")
    model: int | None = Field(description="Version that inspects; null without one.")
    threshold: float | None
    created: Time


class ProductDetails(Product):
    """A kind of part, with its models."""

    models: list[Model]
    activations: list[Activation]


class NewProduct(Taken):
    """A product that is wanted."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")
    title: str = Field("", max_length=120)
    roi: Roi | None = None


class ProductChange(Taken):
    """What is to be changed of a product."""

    title: str | None = Field(None, max_length=120)
    roi: Roi | None = Field(None, description="Null takes the region away; left out, it stays.")


class Source(BaseModel):
    """Where images come from."""

    name: str
    product: str
    kind: str
    settings: dict[str, Any] = Field(description="Without passwords in addresses.")
    enabled: bool
    state: str = Field(description="What is wrong with it; empty if all is well.")
    counts: dict[str, int] = Field(
        description="Of a camera, since it was started: parts inspected, missed, late; triggers that bounced."
    )


class NewSource(Taken):
    """A source that is wanted."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")
    product: str = Field(max_length=64)
    kind: str = Field(max_length=16)
    settings: dict[str, Any]


class SourceChange(Taken):
    """What is to be changed of a source."""

    enabled: bool | None = None
    settings: dict[str, Any] | None = None


class Output(BaseModel):
    """Where results go."""

    name: str
    kind: str
    product: str | None
    settings: dict[str, Any] = Field(description="Without secrets.")
    enabled: bool
    pending: int
    set_aside: int
    failure: str = Field(description="Why its receiver cannot be reached; empty if all is well.")


class NewOutput(Taken):
    """An output that is wanted."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")
    kind: str = Field(max_length=16)
    product: str | None = Field(None, max_length=64)
    settings: dict[str, Any]


class OutputAdded(Output):
    """An output, with its secret."""

    secret: str | None = Field(
        description="Of a webhook, in the answer to the request that made it; otherwise null."
    )


class OutputChange(Taken):
    """What is to be changed of an output."""

    enabled: bool | None = None
    settings: dict[str, Any] | None = Field(
        None, description="Those that are to be changed; null takes one away."
    )


class OutputDeleted(BaseModel):
    """What went with an output."""

    unsent: int = Field(description="Messages that it had not sent yet.")


class User(BaseModel):
    """A person who signs in."""

    name: str
    role: str
    active: bool
    language: str | None
    created: Time


class NewUser(Taken):
    """A user who is wanted."""

    name: str = Field(max_length=64)
    password: str = Field(max_length=1024)
    role: Literal["operator", "engineer", "admin"]


class UserChange(Taken):
    """What is to be changed of a user."""

    password: str | None = Field(None, max_length=1024)
    role: Literal["operator", "engineer", "admin"] | None = None
    active: bool | None = None


class Token(BaseModel):
    """A token of this interface."""

    name: str
    role: str
    created: Time
    created_by: str
    last_used: Time | None
    revoked: Time | None


class NewToken(Taken):
    """A token that is wanted."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")
    role: Literal["line", "operator", "engineer", "admin"]


class TokenAdded(BaseModel):
    """A token's secret, which is shown this once."""

    name: str
    role: str
    token: str


class AuditEntry(BaseModel):
    """One thing that someone did."""

    id: int
    time: Time
    actor: str
    action: str
    subject: str
    details: dict[str, Any]
    remote: str


class AuditPage(BaseModel):
    """A page of the audit log."""

    items: list[AuditEntry]
    next: int | None


class Options(Taken):
    """What is to be changed of the options; see `services.options`."""

    model_config = ConfigDict(extra="allow", strict=True)
