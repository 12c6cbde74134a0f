"""This module simulates a PLC: its program, and its end of each protocol."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from patchebm.errors import PatchebmError
from patchebm.station.plc.tags import (
    OPCUA_TYPES,
    PLC_START,
    PLC_TAGS,
    STATION_START,
    STATION_TAGS,
    WORDS,
    Value,
    Values,
    from_s7,
    length,
    pack,
    to_s7,
    unpack,
)

# Seconds between two looks at the station's tags.
POLL = 0.003
# Seconds between two attempts to connect.
RETRY = 0.2


class Wire(Protocol):
    """This class is the PLC's end of a protocol. Its methods raise OSError where the station is away."""

    def read(self) -> dict[str, Value]:
        """Returns the station's tags."""
        ...

    def write(self, values: Values) -> None:
        """Writes the PLC's tags."""
        ...

    def close(self) -> None:
        """Lets go of it."""
        ...


class PlcProgram:
    """This class is the program of a PLC: it triggers, waits, takes the result and acknowledges it.

    Args:
        open_wire: connects; called again after each OSError.

    Attributes:
        taken: all results, in the order in which they were taken.
        number: of the last part.
        acknowledged: number of the last result that was taken; a PLC keeps both in retentive memory.
    """

    def __init__(self, open_wire: Callable[[], Wire]) -> None:
        self._open_wire = open_wire
        self._wire: Wire | None = None
        self.taken: list[dict[str, Value]] = []
        self.number = 0
        self.acknowledged = 0
        self._product = 0

    def wait_ready(self, seconds: float) -> None:
        """Waits until the station can take a trigger. Raises PatchebmError if it takes longer."""
        self._wait(lambda tags: bool(tags["ready"]), time.monotonic() + seconds, trigger=False)

    def part(self, product_number: int = 0, seconds: float = 30.0) -> dict[str, Value]:
        """Has a part inspected. Returns the station's tags, with its result, or with `error`.

        Args:
            product_number: of the part; 0 keeps it.
            seconds: to wait at most.

        Raises:
            PatchebmError: there was neither a result nor an error for so long.
        """
        deadline = time.monotonic() + seconds
        self._product = product_number or self._product
        self.wait_ready(seconds)
        self.number += 1

        def finished(tags: dict[str, Value]) -> bool:
            taken = self.taken[-1]["result_trigger"] if self.taken else 0
            return bool(tags["error"]) or taken == self.number

        tags = self._wait(finished, deadline, trigger=True)
        self._wait(lambda tags: not tags["busy"] and not tags["error"], deadline, trigger=False)
        return tags if tags["error"] else self.taken[-1]

    def listen(self, seconds: float) -> None:
        """Takes results that come without a trigger."""
        until = time.monotonic() + seconds
        self._wait(lambda _: time.monotonic() > until, until + 60, trigger=False)

    def close(self) -> None:
        """Disconnects."""
        if self._wire is not None:
            with contextlib.suppress(OSError):
                self._wire.close()
            self._wire = None

    def _wait(
        self, condition: Callable[[dict[str, Value]], bool], deadline: float, *, trigger: bool
    ) -> dict[str, Value]:
        written: dict[str, Value] | None = None
        while True:
            commands: dict[str, Value] = {
                "trigger": trigger,
                "product_number": self._product,
                "trigger_number": self.number,
                "acknowledged": self.acknowledged,
            }
            try:
                if self._wire is None:
                    self._wire = self._open_wire()
                    written = None
                if commands != written:
                    self._wire.write(commands)
                    written = commands
                tags = self._wire.read()
            except OSError:
                self.close()
                time.sleep(RETRY)
                tags = None
            if tags is not None:
                if tags["done"] and tags["part_counter"] != self.acknowledged:
                    self.taken.append(tags)
                    self.acknowledged = int(tags["part_counter"])
                elif condition(tags):
                    return tags
                # After a restart the station knows nothing of what was written before.
                if tags["done"]:
                    written = None
            if time.monotonic() > deadline:
                raise PatchebmError(f"the station has not answered part {self.number} in time")
            time.sleep(POLL)


class ModbusClientWire:
    """This class is a PLC that is a client of the station's server of Modbus TCP.

    Args:
        host: of the station.
        port: the same.
    """

    def __init__(self, host: str, port: int) -> None:
        from pymodbus.client import ModbusTcpClient
        from pymodbus.exceptions import ModbusException

        self._failed = ModbusException
        self._client = ModbusTcpClient(host, port=port, timeout=1.0, retries=0)
        if not self._client.connect():
            raise OSError("no connection")

    def read(self) -> dict[str, Value]:
        """Returns the station's tags."""
        answer = self._asked(self._client.read_holding_registers, STATION_START, count=length(STATION_TAGS))
        return unpack(STATION_TAGS, answer.registers)

    def write(self, values: Values) -> None:
        """Writes the PLC's tags."""
        self._asked(self._client.write_registers, PLC_START, pack(PLC_TAGS, values))

    def close(self) -> None:
        """Disconnects."""
        self._client.close()

    def _asked(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = method(*args, **kwargs)
        except self._failed as error:
            raise OSError(str(error)) from error
        if answer.isError():
            raise OSError(str(answer))
        return answer


class ModbusServerWire:
    """This class is a PLC that is a server of Modbus TCP, to which the station connects.

    Args:
        port: of this machine.
    """

    def __init__(self, port: int) -> None:
        self._words = [0] * WORDS
        self._lock = threading.Lock()
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="plc-modbus", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failed:
            raise OSError(f"port {port} is taken")

    def read(self) -> dict[str, Value]:
        """Returns the station's tags."""
        with self._lock:
            return unpack(STATION_TAGS, self._words[STATION_START : STATION_START + length(STATION_TAGS)])

    def write(self, values: Values) -> None:
        """Writes the PLC's tags."""
        words = pack(PLC_TAGS, values)
        with self._lock:
            self._words[PLC_START : PLC_START + len(words)] = words

    def close(self) -> None:
        """Stops the server."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        from pymodbus.server import ModbusTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        async def exchange(
            _: int, __: int, address: int, ___: int, registers: list[int], values: list[int] | None
        ) -> None:
            with self._lock:
                if values is not None:
                    self._words[address : address + len(values)] = values
                registers[: len(self._words)] = self._words

        self._end = asyncio.Event()
        block = SimData(0, count=WORDS, values=0, datatype=DataType.REGISTERS)
        server = ModbusTcpServer(
            SimDevice(0, simdata=[block], action=exchange), address=("127.0.0.1", self._port)
        )
        self._failed = not await server.listen()
        self._ready.set()
        if not self._failed:
            await self._end.wait()
            await server.shutdown()


class S7Wire:
    """This class is an S7 PLC with one data block, to which the station connects.

    Args:
        port: of this machine.
        block: number of the data block.
    """

    def __init__(self, port: int, block: int = 1) -> None:
        from snap7.server import Server
        from snap7.type import SrvArea

        self._data = bytearray(2 * WORDS)
        self._server = Server(log=False)
        self._server.register_area(SrvArea.DB, block, self._data)
        try:
            self._server.start_to("127.0.0.1", port)
        except Exception as error:
            raise OSError(f"port {port} is taken ({error})") from error

    def read(self) -> dict[str, Value]:
        """Returns the station's tags."""
        return unpack(STATION_TAGS, from_s7(self._data[: 2 * length(STATION_TAGS)]))

    def write(self, values: Values) -> None:
        """Writes the PLC's tags."""
        packed = to_s7(pack(PLC_TAGS, values))
        self._data[2 * PLC_START : 2 * PLC_START + len(packed)] = packed

    def close(self) -> None:
        """Stops the server."""
        self._server.stop()
        self._server.destroy()


class OpcUaWire:
    """This class is a PLC that is a client of the station's OPC UA server, with encryption.

    Args:
        host: of the station.
        port: the same.
        name: of a user of the station.
        password: of that user.
        folder: for the client's certificate.
    """

    def __init__(self, host: str, port: int, name: str, password: str, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._station: dict[str, Any] = {}
        self._plc: dict[str, Any] = {}
        try:
            self._ask(self._connect(host, port, name, password, folder))
        except OSError:
            self._loop.close()
            raise

    def read(self) -> dict[str, Value]:
        """Returns the station's tags."""
        values = self._ask(self._client.read_values(list(self._station.values())))
        return dict(zip(self._station, values, strict=True))

    def write(self, values: Values) -> None:
        """Writes the PLC's tags."""
        from asyncua import ua

        # The trigger comes behind what it asks for.
        names = sorted(self._plc, key=lambda name: name == "trigger")
        kinds = {tag.name: OPCUA_TYPES[tag.kind] for tag in PLC_TAGS}
        packed = [ua.DataValue(ua.Variant(values[name], ua.VariantType[kinds[name]])) for name in names]
        self._ask(self._client.write_values([self._plc[name] for name in names], packed))

    def close(self) -> None:
        """Disconnects."""
        with contextlib.suppress(OSError):
            self._ask(self._client.disconnect())
        self._loop.close()

    def _ask(self, request: Any) -> Any:
        try:
            return self._loop.run_until_complete(asyncio.wait_for(request, 5.0))
        # The library raises errors of many kinds.
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    async def _connect(self, host: str, port: int, name: str, password: str, folder: Path) -> None:
        from asyncua import Client
        from asyncua.crypto.cert_gen import setup_self_signed_certificate
        from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
        from cryptography.x509.oid import ExtendedKeyUsageOID

        self._client = client = Client(f"opc.tcp://{host}:{port}/patchebm", timeout=2)
        client.application_uri = "urn:patchebm:plc-simulator"
        key, certificate = folder / "plc-key.pem", folder / "plc-certificate.der"
        usage, subject = [ExtendedKeyUsageOID.CLIENT_AUTH], {"commonName": "PLC simulator"}
        await setup_self_signed_certificate(
            key, certificate, client.application_uri, "localhost", usage, subject
        )
        await client.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key))
        client.set_user(name)
        client.set_password(password)
        await client.connect()
        space = await client.get_namespace_index("urn:patchebm:station")
        tags = await client.nodes.objects.get_child([f"{space}:VisionSystem", f"{space}:Tags"])
        for known, found in ((STATION_TAGS, self._station), (PLC_TAGS, self._plc)):
            for tag in known:
                found[tag.name] = await tags.get_child(f"{space}:{tag.name}")
