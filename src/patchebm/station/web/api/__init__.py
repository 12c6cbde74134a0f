"""This folder holds REST; each module has a `router` that `web.app` includes under `/api/v1`."""

from __future__ import annotations

from typing import Any

from patchebm.station.web.api.schemas import Problem

_WORDS = {
    400: "The request cannot be read.",
    401: "It does not say who asks.",
    403: "Who asks may not do this.",
    404: "There is no such thing.",
    409: "It contradicts what is there.",
    413: "It is too large.",
    422: "A value, an image or a bundle cannot be used.",
    429: "Too often; see `Retry-After`.",
    503: "The station cannot do this now; see `Retry-After`.",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": words,
        "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
    }
    for status, words in _WORDS.items()
}
"""What every route may answer besides."""
