"""The OpenAPI document holds: Schemathesis sends what it allows, and what it forbids, to a real station."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.station.running import Running, png, running

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (extra dev)")

from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

# Written into the clients of plants: these stay.
STABLE = {
    ("/api/v1/products/{product}/inspections", "post"),
    ("/api/v1/inspections", "get"),
    ("/api/v1/inspections/{inspection}", "get"),
    ("/api/v1/inspections/{inspection}/image", "get"),
    ("/api/v1/inspections/{inspection}/map", "get"),
    ("/api/v1/inspections/{inspection}/reviews", "post"),
    ("/api/v1/products", "get"),
    ("/api/v1/products", "post"),
    ("/api/v1/products/{product}/models", "post"),
    ("/api/v1/products/{product}/models/{version}/activate", "post"),
    ("/api/v1/products/{product}/calibrations", "post"),
}


def test_stable_addresses_are_there(served: Running) -> None:
    with served.client(None) as client:
        paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert {(path, method) for path, method in STABLE if method in paths.get(path, {})} == STABLE


@pytest.mark.station
def test_no_request_is_a_servers_error_and_every_answer_is_as_documented(
    bundle_file: Path, tmp_path: Path
) -> None:
    with running(tmp_path / "station", bundle_file, requests_per_second=100_000) as station:
        part = station.push(png(0)).json()["id"]
        schema = schemathesis.openapi.from_url(station.url + "/api/v1/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) >= len(STABLE)
        for operation in operations:
            # That would take away the token that the others need.
            if operation.method.upper() != "DELETE":
                _checking(operation, station.tokens["admin"], part)()


def _checking(operation: Any, token: str, part: str) -> Callable[[], None]:
    """Returns a test of one address and method."""

    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy())
        for name, value in (("product", "flange"), ("inspection", part)):
            if name in (case.path_parameters or {}) and data.draw(st.booleans()):
                case.path_parameters[name] = value
        answer = case.call(headers={"Authorization": f"Bearer {token}"})
        # 503 is a product without a model.
        assert answer.status_code < 500 or answer.status_code == 503, (case.as_curl_command(), answer.text)
        # No schema says which bytes are an image, or which filters name a product that there is.
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    checked: Callable[[], None] = check
    return checked
