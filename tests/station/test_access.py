"""Who may do what: a table of every route and every role, asserted whole, and how people sign in."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from patchebm.station.web.app import API, PAGES
from tests.station.running import PASSWORD, ROLES, Running, running

# The least role of each route; None is open to all. A new route has to be entered here.
LEAST: dict[tuple[str, str], str | None] = {
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/login"): None,
    ("POST", "/login"): None,
    ("GET", "/metrics"): "line",
    ("POST", "/api/v1/products/{product}/inspections"): "line",
    ("GET", "/api/v1/inspections/{inspection}"): "line",
    ("POST", "/api/v1/sources/{source}/trigger"): "line",
    ("POST", "/api/v1/sources/{source}/parts"): "line",
    ("GET", "/api/v1/joined-parts/{part}"): "line",
    ("GET", "/api/v1/joined-parts"): "operator",
    ("GET", "/"): "operator",
    ("POST", "/logout"): "operator",
    ("GET", "/events"): "operator",
    ("GET", "/line/{product}"): "operator",
    ("GET", "/history"): "operator",
    ("GET", "/parts/{part}"): "operator",
    ("POST", "/parts/{part}/reviews"): "operator",
    ("GET", "/review"): "operator",
    ("GET", "/rates"): "operator",
    ("GET", "/products/{product}/drift"): "operator",
    ("GET", "/account"): "operator",
    ("POST", "/account/language"): "operator",
    ("POST", "/account/password"): "operator",
    ("POST", "/products"): "engineer",
    ("GET", "/products/{product}"): "engineer",
    ("POST", "/products/{product}/models"): "engineer",
    ("POST", "/products/{product}/activate"): "engineer",
    ("POST", "/products/{product}/roi"): "engineer",
    ("GET", "/products/{product}/trainings"): "engineer",
    ("POST", "/products/{product}/trainings"): "engineer",
    ("GET", "/products/{product}/trainings/{training}"): "engineer",
    ("GET", "/products/{product}/trainings/{training}/{kind}"): "engineer",
    ("POST", "/products/{product}/trainings/{training}/cancel"): "engineer",
    ("POST", "/products/{product}/trainings/{training}/model"): "engineer",
    ("GET", "/products/{product}/compare/{version}"): "engineer",
    ("GET", "/products/{product}/sources/{source}"): "engineer",
    ("POST", "/products/{product}/sources/{source}"): "engineer",
    ("POST", "/products/{product}/sources/{source}/trigger"): "operator",
    ("GET", "/sources/{source}/picture"): "engineer",
    ("GET", "/sources/{source}/meter"): "engineer",
    ("GET", "/products/{product}/calibration"): "engineer",
    ("POST", "/products/{product}/calibration"): "engineer",
    ("POST", "/products/{product}/calibration/{number}"): "engineer",
    ("POST", "/products/{product}/drift"): "engineer",
    ("GET", "/connections"): "engineer",
    ("POST", "/connections/sources/{source}"): "admin",
    ("POST", "/connections/outputs/{output}"): "admin",
    ("GET", "/users"): "admin",
    ("POST", "/users"): "admin",
    ("POST", "/users/change"): "admin",
    ("POST", "/tokens"): "admin",
    ("POST", "/tokens/revoke"): "admin",
    ("POST", "/options"): "admin",
    ("GET", "/audit"): "admin",
    ("GET", "/api/v1/inspections"): "operator",
    ("GET", "/api/v1/inspections/{inspection}/image"): "operator",
    ("GET", "/api/v1/inspections/{inspection}/map"): "operator",
    ("GET", "/api/v1/inspections/{inspection}/reviews"): "operator",
    ("POST", "/api/v1/inspections/{inspection}/reviews"): "operator",
    ("GET", "/api/v1/missed"): "operator",
    ("GET", "/api/v1/products"): "operator",
    ("GET", "/api/v1/products/{product}"): "operator",
    ("GET", "/api/v1/products/{product}/calibrations"): "operator",
    ("GET", "/api/v1/options"): "operator",
    ("POST", "/api/v1/products"): "engineer",
    ("PATCH", "/api/v1/products/{product}"): "engineer",
    ("POST", "/api/v1/products/{product}/models"): "engineer",
    ("POST", "/api/v1/products/{product}/models/{version}/activate"): "engineer",
    ("POST", "/api/v1/products/{product}/calibrations"): "engineer",
    ("POST", "/api/v1/products/{product}/calibrations/{number}/approve"): "engineer",
    ("POST", "/api/v1/products/{product}/calibrations/{number}/reject"): "engineer",
    ("GET", "/api/v1/exports/{form}"): "engineer",
    ("GET", "/api/v1/sources"): "engineer",
    ("GET", "/api/v1/outputs"): "engineer",
    ("POST", "/api/v1/sources"): "admin",
    ("PATCH", "/api/v1/sources/{source}"): "admin",
    ("DELETE", "/api/v1/sources/{source}"): "admin",
    ("POST", "/api/v1/outputs"): "admin",
    ("PATCH", "/api/v1/outputs/{output}"): "admin",
    ("DELETE", "/api/v1/outputs/{output}"): "admin",
    ("GET", "/api/v1/users"): "admin",
    ("POST", "/api/v1/users"): "admin",
    ("PATCH", "/api/v1/users/{user}"): "admin",
    ("GET", "/api/v1/tokens"): "admin",
    ("POST", "/api/v1/tokens"): "admin",
    ("DELETE", "/api/v1/tokens/{token}"): "admin",
    ("GET", "/api/v1/audit"): "admin",
    ("PATCH", "/api/v1/options"): "admin",
}
VALUES = {
    "inspection": "01a217bd-6a2b-740a-a0df-a1538210427c",
    "part": "01a217bd-6a2b-740a-a0df-a1538210427c",
    "version": "99",
    "number": "99",
    "form": "csv",
}


def routes() -> set[tuple[str, str]]:
    """Every route and method of the routers that the application includes."""
    routers = [("", router) for router in PAGES] + [("/api/v1", router) for router in API]
    return {
        (method, prefix + route.path)
        for prefix, router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }


def test_the_table_has_every_route(served: Running) -> None:
    # What the server answers to, not what one list says: OpenAPI names each route, too.
    with served.client(None) as client:
        document = client.get("/api/v1/openapi.json").json()
    named = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert named <= set(LEAST)
    assert routes() == set(LEAST)


@pytest.mark.parametrize("role", [None, *ROLES])
def test_every_route_is_open_to_those_it_is_for_and_to_nobody_else(served: Running, role: str | None) -> None:
    wrong = {}
    with served.client(role) as client:
        for (method, route), least in LEAST.items():
            path = re.sub(r"{(\w+)}", lambda name: VALUES.get(name[1], "nothing"), route)
            allowed = least is None or (role is not None and ROLES.index(role) >= ROLES.index(least))
            with client.stream(method, path) as answer:
                refused = answer.status_code in (401, 403)
            if refused == allowed:
                wrong[method, route] = answer.status_code
            if not allowed:
                expected = 401 if role is None else 403
                if answer.status_code != expected:
                    wrong[method, route] = answer.status_code
    # A token has no login to end: signing out is refused to none of those who may.
    assert wrong == {}


def sign_in(client: httpx.Client, name: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
    return client.post("/login", data={"name": name, "password": password}, headers=headers)


def csrf_of(client: httpx.Client) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert found
    return found[1]


def test_people_sign_in_and_out(served: Running) -> None:
    page = {"Accept": "text/html"}
    with served.client(None, headers=page) as client:
        answer = client.get("/", params={"a": "1"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2F%3Fa%3D1")
        answer = sign_in(client, "operator")
        assert answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert client.get("/").status_code == 200
        token = csrf_of(client)
        secret = client.cookies["patchebm_station"]
        assert client.post("/logout", data={"csrf_token": token}).status_code == 303
        # The session is over, and not only forgotten by the browser.
        client.cookies.set("patchebm_station", secret)
        assert client.get("/").status_code == 303


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "\\evil", ""]
)
def test_a_login_leads_to_no_other_site(served: Running, target: str) -> None:
    with served.client(None) as client:
        answer = client.post("/login", data={"name": "operator", "password": PASSWORD, "next": target})
        assert answer.headers["location"] == "/"


def test_forms_and_scripts_of_other_sites_do_nothing(served: Running) -> None:
    with served.client(None) as client:
        assert sign_in(client, "admin", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert sign_in(client, "admin", Origin="https://evil.example").status_code == 403
        assert sign_in(client, "admin").status_code == 303
        token = csrf_of(client)
        body = {"name": "stolen", "role": "admin"}
        assert client.post("/api/v1/tokens", json=body).status_code == 403
        wrong = {"X-CSRF-Token": token[:-1] + "x"}
        assert client.post("/api/v1/tokens", json=body, headers=wrong).status_code == 403
        foreign = {"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}
        assert client.post("/api/v1/tokens", json=body, headers=foreign).status_code == 403
        own = {"X-CSRF-Token": token, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/api/v1/tokens", json=body, headers=own).status_code == 201
        assert client.delete("/api/v1/tokens/stolen", headers=own).status_code == 204


def test_guesses_at_passwords_are_limited_by_name_and_address(bundle_file: Any, tmp_path: Any) -> None:
    with running(tmp_path / "station", None, login_attempts=3) as station, station.client(None) as client:
        for _ in range(3):
            assert sign_in(client, "admin", "wrong password").status_code == 403
        limited = sign_in(client, "admin")
        assert limited.status_code == 429
        assert int(limited.headers["Retry-After"]) > 60
        # Of this address, whatever the name.
        assert sign_in(client, "nobody", "wrong password").status_code == 429
        with station.client("admin") as admin:
            failed = admin.get("/api/v1/audit", params={"action": "login.failed"}).json()["items"]
    assert [entry["actor"] for entry in failed] == ["user:admin"] * 3


def test_a_revoked_token_and_a_removed_user_are_out_at_once(station: Running) -> None:
    with station.client("admin") as admin, station.client(None) as person:
        token = admin.post("/api/v1/tokens", json={"name": "cam", "role": "operator"}).json()["token"]
        camera = {"Authorization": f"Bearer {token}"}
        assert httpx.get(station.url + "/api/v1/products", headers=camera).status_code == 200
        admin.delete("/api/v1/tokens/cam")
        assert httpx.get(station.url + "/api/v1/products", headers=camera).status_code == 401
        sign_in(person, "operator")
        assert person.get("/").status_code == 200
        admin.patch("/api/v1/users/operator", json={"active": False})
        assert person.get("/", headers={"Accept": "*/*"}).status_code == 401
        assert sign_in(person, "operator").status_code == 403
        # The last admin stays.
        assert admin.patch("/api/v1/users/admin", json={"role": "operator"}).status_code == 409


def test_no_secret_is_stored_or_shown(station: Running) -> None:
    settings = {"url": "https://host/secret-path"}
    with station.client("admin") as client:
        body = {"name": "mes", "kind": "webhook", "settings": settings}
        secret = client.post("/api/v1/outputs", json=body).json()["secret"]
        shown = client.get("/api/v1/outputs").text + client.get("/api/v1/audit").text
    assert secret.startswith("whsec_")
    for hidden in (secret, "secret-path", PASSWORD, *station.tokens.values()):
        assert hidden not in shown
    with station.station.session() as session:
        for table, column in (("api_tokens", "hash"), ("users", "password_hash")):
            stored = session.execute(text(f"SELECT {column} FROM {table}")).scalars().all()
            assert stored
            assert not set(stored) & {*station.tokens.values(), PASSWORD}
            if table == "users":
                assert all(one.startswith("$argon2id$") for one in stored)


@pytest.mark.parametrize("change", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log"])
def test_the_audit_log_refuses_changes(station: Running, change: str) -> None:
    with station.station.session() as session:
        before = session.execute(text("SELECT count(*) FROM audit_log")).scalar()
    assert before
    with pytest.raises(DBAPIError, match="append-only"), station.station.session(write=True) as session:
        session.execute(text(change))
    with station.station.session() as session:
        assert session.execute(text("SELECT count(*) FROM audit_log WHERE actor <> 'x'")).scalar() == before


def test_answers_carry_the_headers_that_browsers_heed(served: Running) -> None:
    for path in ("/login", "/healthz", "/api/v1/products", "/nothing"):
        headers = httpx.get(served.url + path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
