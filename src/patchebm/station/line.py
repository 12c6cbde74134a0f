"""This module is the station as outputs see it through which a PLC triggers it: `outputs.base.Line`."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from patchebm.errors import PatchebmError
from patchebm.station.arrival import Outcome
from patchebm.station.database.products import Product
from patchebm.station.outputs.base import Last
from patchebm.station.services import logins, messages, users

if TYPE_CHECKING:
    from patchebm.station.station import Station


class StationLine:
    """This class answers outputs; threads may share it.

    Args:
        station: that it speaks for.
    """

    def __init__(self, station: Station) -> None:
        self._station = station

    @property
    def folder(self) -> Path:
        """Returns the station's folder."""
        return self._station.settings.folder

    def trigger(self, product: str, part: str, key: str | None) -> Future[Outcome]:
        """Has the product's camera take an image; see `Line.trigger`."""
        return self._station.sources.trigger_product(product, part, key)

    def trouble(self, product: str) -> str:
        """Returns why parts of a product cannot be inspected now; "" if they can be."""
        problems = self._station.problems()
        if problems:
            return f"the station cannot inspect: {problems[0]}"
        with self._station.session() as session:
            product_id = session.scalar(select(Product.id).where(Product.name == product))
        if product_id is None:
            return f"there is no product '{product}'"
        try:
            self._station.active_models.of(product_id)
        except PatchebmError as error:
            return str(error)
        return ""

    def camera_trouble(self, product: str) -> str:
        """Returns why the product's camera cannot be triggered now; "" if it can be."""
        return self._station.sources.trigger_trouble(product)

    def last_triggered(self, output: str) -> Last | None:
        """Returns the last part that an output had triggered; see `Line.last_triggered`."""
        with self._station.session() as session:
            found = messages.last_triggered(session, output)
        return None if found is None else Last(*found)

    def signed_in(self, name: str, password: str) -> bool:
        """Says whether a user has this password. Guesses are limited and written into the audit log."""
        limit, key = self._station.failed_logins, ("name", name)
        if limit.wait(key) > 0:
            return False
        with self._station.session() as session:
            user = users.find(session, name)
        if users.matching(user, password):
            return True
        limit.take(key)
        with self._station.session(write=True) as session:
            logins.note_failure(session, name, "line")
        return False
