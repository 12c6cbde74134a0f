"""This module is an OPC UA server with the tags and a subset of OPC 40100-1; extra `line` (asyncua).

Below `Objects/VisionSystem` (namespace `urn:patchebm:station`):

- `Tags`: those of `plc.tags`; the PLC writes its own.
- `VisionStateMachine/CurrentState`: Operational, or Error while the station cannot inspect.
- `AutomaticModeStateMachine/CurrentState`: Ready, SingleExecution or Initialized; `StartSingleJob(partId)`.
- `RecipeManagement/PrepareRecipe(externalId)`: chooses the product; `ActiveRecipe` is its name.
- `ResultManagement/Result`: the last result as JSON, as REST shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import time
from typing import Any

from patchebm.station.outputs.base import Failure, Line, Message
from patchebm.station.plc.handshake import Handshake
from patchebm.station.plc.served import ServedSender
from patchebm.station.plc.tags import OPCUA_TYPES, PLC_TAGS, STATION_TAGS, Tag

_log = logging.getLogger(__name__)

NAMESPACE = "urn:patchebm:station"
# Seconds between two exchanges of tags, unless there is a result to be shown or a client has written.
CYCLE = 0.01
# Seconds between two lines of the log on values that are left out.
QUIET = 10.0
# What tells of a new result comes behind what it says.
_LAST = ("part_counter", "done")
# What those who are not signed in may do, where that was asked for: read.
_READ = (
    "CreateSession", "CloseSession", "ActivateSession", "Read", "Browse", "GetEndpoints", "FindServers",
    "TranslateBrowsePathsToNodeIds", "CreateSubscription", "ModifySubscription", "DeleteSubscriptions",
    "CreateMonitoredItems", "ModifyMonitoredItems", "DeleteMonitoredItems", "Publish", "Republish",
    "CloseSecureChannel", "RegisterNodes", "UnregisterNodes",
)  # fmt: skip


class OpcUaSender(ServedSender):
    """This class is an OPC UA server. Users are those of the station, who sign in with their passwords.

    Args:
        settings: `anonymous` (whether those who are not signed in may read), `unencrypted` (whether clients
            may do without encryption), `sessions` and `subscriptions` (limits), and see `ServedSender`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        keys = ("anonymous", "unencrypted", "sessions", "subscriptions")
        super().__init__("opcua", settings, keys, 4840)
        self._anonymous = self._options.flag("anonymous", False)
        self._unencrypted = self._options.flag("unencrypted", False)
        self._sessions = self._options.whole("sessions", 10, 1, 1000)
        self._subscriptions = self._options.whole("subscriptions", 50, 1, 10000)
        self._result = ""
        self._said = -QUIET

    def send(self, message: Message) -> Failure | None:
        """Shows a result until the PLC has acknowledged it; see `Sender.send`."""
        if message.number:
            self._result = json.dumps(message.body, allow_nan=False)
        return super().send(message)

    def _place(self) -> dict[str, Any]:
        flags = {"anonymous": self._anonymous, "unencrypted": self._unencrypted}
        return {**super()._place(), **flags}

    async def _serve(self, handshake: Handshake, line: Line) -> None:
        from asyncua import Server, ua
        from asyncua.common.callback import CallbackType

        server = Server(user_manager=_Users(line))
        await server.init()
        server.set_endpoint(f"opc.tcp://{self._host}:{self._port}/patchebm")
        server.set_server_name("patchebm station")
        await self._secure(server, line)
        server.iserver.max_connections = self._sessions
        server.iserver.max_subscriptions = self._subscriptions
        space = await server.register_namespace(NAMESPACE)
        system = await server.nodes.objects.add_object(space, "VisionSystem")
        tags = await system.add_object(space, "Tags")
        variables = {}
        for tag in (*STATION_TAGS, *PLC_TAGS):
            kind = ua.VariantType[OPCUA_TYPES[tag.kind]]
            start = {"bool": False, "float32": 0.0}.get(tag.kind, 0)
            node = await tags.add_variable(space, tag.name, start, kind)
            if tag in PLC_TAGS:
                await node.set_writable()
            variables[tag.name] = (node, kind)
        texts = await self._vision(ua, space, system, handshake)
        server.subscribe_server_callback(CallbackType.PostWrite, lambda *_: handshake.tell_news())
        await server.start()
        try:
            self._listening()
            await self._exchange(ua, server, handshake, variables, texts)
        finally:
            await server.stop()

    async def _vision(self, ua: Any, space: int, system: Any, handshake: Handshake) -> dict[str, Any]:
        """Adds the subset of OPC 40100-1. Returns its variables by name."""

        async def start(_: Any, part: Any) -> list[Any]:
            error = handshake.job(str(part.Value or "")[:128])
            return [ua.Variant(error, ua.VariantType.Int32)]

        async def prepare(_: Any, recipe: Any) -> list[Any]:
            return [ua.Variant(handshake.choose(str(recipe.Value or "")), ua.VariantType.Int32)]

        vision = await system.add_object(space, "VisionStateMachine")
        automatic = await system.add_object(space, "AutomaticModeStateMachine")
        recipes = await system.add_object(space, "RecipeManagement")
        results = await system.add_object(space, "ResultManagement")
        text, number = ua.VariantType.String, ua.VariantType.Int32
        await automatic.add_method(space, "StartSingleJob", start, [text], [number])
        await recipes.add_method(space, "PrepareRecipe", prepare, [text], [number])
        return {
            "vision": await vision.add_variable(space, "CurrentState", "", text),
            "automatic": await automatic.add_variable(space, "CurrentState", "", text),
            "recipe": await recipes.add_variable(space, "ActiveRecipe", "", text),
            "result": await results.add_variable(space, "Result", "", text),
        }

    async def _exchange(
        self, ua: Any, server: Any, handshake: Handshake, variables: dict[str, Any], texts: dict[str, Any]
    ) -> None:
        """Takes in what PLCs wrote, and writes what has changed."""
        shown: dict[str, Any] = {}
        names = [tag.name for tag in STATION_TAGS if tag.name not in _LAST] + list(_LAST)
        # Before anyone has written, nobody has said that there is no trigger.
        before: dict[str, Any] = {tag.name: False if tag.kind == "bool" else 0 for tag in PLC_TAGS}
        known = 0
        while True:
            commands = await self._commands(ua, server, variables, before)
            if commands != before:
                handshake.take(commands)
            before = commands
            tags = handshake.tags()
            facts: dict[str, tuple[Any, Any, Any]] = {
                "vision": (texts["vision"], _vision_state(handshake), ua.VariantType.String),
                "automatic": (texts["automatic"], _automatic_state(tags), ua.VariantType.String),
                "recipe": (texts["recipe"], handshake.active_product, ua.VariantType.String),
                "result": (texts["result"], self._result, ua.VariantType.String),
            }
            for name in names:
                node, kind = variables[name]
                value = tags.get(name, False if kind == ua.VariantType.Boolean else 0)
                facts[name] = (node, value, kind)
            for name, (node, value, kind) in facts.items():
                if shown.get(name) != value:
                    shown[name] = value
                    variant = ua.Variant(float(value) if kind == ua.VariantType.Float else value, kind)
                    await server.write_attribute_value(node.nodeid, ua.DataValue(variant))
            known = await asyncio.to_thread(handshake.wait_for_news, known, CYCLE)

    async def _commands(
        self, ua: Any, server: Any, variables: dict[str, Any], before: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns what PLCs have written. A tag that was given no single value gets back what it had before.

        The library lets arrays pass, and keeps nothing of a value whose status is bad.
        """
        commands = {}
        for tag in PLC_TAGS:
            node, kind = variables[tag.name]
            held = server.read_attribute_value(node.nodeid).Value
            value = None if held is None else held.Value
            if not _fits(tag, value):
                self._say_left_out(tag.name)
                value = before[tag.name]
                await server.write_attribute_value(node.nodeid, ua.DataValue(ua.Variant(value, kind)))
            commands[tag.name] = value
        return commands

    def _say_left_out(self, name: str) -> None:
        if time.monotonic() - self._said > QUIET:
            self._said = time.monotonic()
            _log.warning(
                "the OPC UA server on port %d: a client wrote an array, or a value without a good status, to "
                "%s; it is left out",
                self._port,
                name,
            )

    async def _secure(self, server: Any, line: Line) -> None:
        """Sets certificates, encryption, and who may do what."""
        from asyncua import ua
        from asyncua.crypto.cert_gen import setup_self_signed_certificate
        from asyncua.crypto.permission_rules import SimpleRoleRuleset, UserRole
        from cryptography.x509.oid import ExtendedKeyUsageOID

        folder = line.folder / "opcua"
        folder.mkdir(mode=0o700, exist_ok=True)
        uri, host = f"{NAMESPACE}:{socket.gethostname()}", socket.gethostname()
        await server.set_application_uri(uri)
        key, certificate = folder / "key.pem", folder / "certificate.der"
        usage, subject = [ExtendedKeyUsageOID.SERVER_AUTH], {"commonName": "patchebm station"}
        await setup_self_signed_certificate(key, certificate, uri, host, usage, subject)
        with contextlib.suppress(OSError):
            key.chmod(0o600)
        await server.load_certificate(certificate)
        await server.load_private_key(key)
        policies = [
            ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
            ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
        ]
        if self._unencrypted:
            policies.append(ua.SecurityPolicyType.NoSecurity)
        rules = SimpleRoleRuleset()
        tokens: list[type] = [ua.UserNameIdentityToken]
        if self._anonymous:
            tokens.append(ua.AnonymousIdentityToken)
            rules._permission_dict[UserRole.Anonymous] = {
                ua.NodeId(getattr(ua.ObjectIds, f"{word}Request_Encoding_DefaultBinary")) for word in _READ
            }
        server.set_security_policy(policies, permission_ruleset=rules)
        server.set_identity_tokens(tokens)


class _Users:
    """This class finds out who signs in."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def get_user(
        self, iserver: Any, username: str | None = None, password: Any = None, certificate: Any = None
    ) -> Any:
        from asyncua.crypto.permission_rules import User, UserRole

        if username is None:
            # The server has refused this already unless it was asked for.
            return User(role=UserRole.Anonymous)
        text = password.decode("utf-8", "replace") if isinstance(password, bytes) else str(password or "")
        return User(role=UserRole.User, name=username) if self._line.signed_in(username, text) else None


def _fits(tag: Tag, value: Any) -> bool:
    """Says whether a tag of the PLC can hold a value."""
    if tag.kind == "bool":
        return isinstance(value, bool)
    return type(value) is int and 0 <= value < 1 << 16 * tag.words


def _vision_state(handshake: Handshake) -> str:
    return "Error" if handshake.trouble else "Operational"


def _automatic_state(tags: dict[str, Any]) -> str:
    if tags["busy"]:
        return "SingleExecution"
    return "Ready" if tags["ready"] else "Initialized"
