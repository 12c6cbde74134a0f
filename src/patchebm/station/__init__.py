"""The inspection station: a service that inspects parts, keeps their history and learns from reviews.

It needs the extra `station` (Python 3.11 or later) and no torch. Data flows one way:

    sources -> inspector (inspects) -> writer (one transaction a batch: inspections and outbox) -> outputs

- `database`: the tables (SQLAlchemy 2), the engine (SQLite in WAL mode, or PostgreSQL) and the migrations
  (Alembic). The schema is changed by a new file in `database/migrations/versions`, never by editing an old
  one.
- `services`: what the station does, as plain functions whose first argument is a `sqlalchemy.orm.Session`.
  They raise `PatchebmError`s, flush, and leave the commit to their caller. REST and pages both call them, so
  that each rule is written once.
- `web/api`: REST. `web/pages`: pages for browsers. Both are thin: they read the request, call a service, and
  shape the answer.
- `inspector`, `writer`: threads that inspect images and commit results in groups.
- `sources`, `outputs`: one class each behind one protocol.
- `station.Station`: what a running process holds (engine, storage, inspector, outputs, live events); an
  application made by `web.app.create_app(settings)` keeps it as `app.state.station`.

How a page gets its data:

    @router.get("/history")
    def history(request: Request, session: DatabaseSession, who: Operator) -> Response:
        parts = inspections.search(session, filters, limit=50)
        return page(request, "history.html", who, parts=parts)

`DatabaseSession` (from `web.dependencies`) commits when the function returns and rolls back when it raises;
`Line`, `Operator`, `Engineer` and `Admin` say which role a route needs at least, and hand over who asks
(`web.dependencies.Actor`: name, role, how they signed in, CSRF token). Forms carry `csrf_token`, scripts the
header `X-CSRF-Token`; `web.dependencies` refuses what has neither.
"""
