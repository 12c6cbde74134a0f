"""This module holds the tags that station and PLC exchange; Modbus, S7, OPC UA and the documentation use it.

Both sides have a block of words of 16 bits, most significant word first. The first word of a block holds its
bits. A Modbus register is such a word, with the first bit as its least significant one; its coils are its
bits. In a data block of S7 the bits are declared as Bool one after another: DBX0.0, DBX0.1 and so on.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Value = bool | int | float
Values = Mapping[str, Value]

# The first word of each block.
STATION_START, PLC_START = 0, 32
# Words of both, with the gap between.
WORDS = 48
_FORMATS = {"uint16": ">H", "uint32": ">I", "float32": ">f"}
_LENGTHS = {"bool": 0, "uint16": 1, "uint32": 2, "float32": 2}
OPCUA_TYPES = {"bool": "Boolean", "uint16": "UInt16", "uint32": "UInt32", "float32": "Float"}
_S7_TYPES = {"bool": "Bool", "uint16": "Word", "uint32": "DWord", "float32": "Real"}


@dataclass(frozen=True)
class Tag:
    """This class is one tag.

    Attributes:
        name: in lower case.
        kind: bool, uint16, uint32 or float32.
        word: its first word.
        bit: of a bool, its place in the word, 0 first; else 0.
        meaning: one sentence.
    """

    name: str
    kind: str
    word: int
    bit: int
    meaning: str

    @property
    def words(self) -> int:
        """Returns the number of words that it fills; 0 for a bool, which shares one."""
        return _LENGTHS[self.kind]

    @property
    def coil(self) -> int | None:
        """Returns the address of a bool as a coil or discrete input of Modbus, from 0; None for others."""
        return 16 * self.word + self.bit if self.kind == "bool" else None

    @property
    def s7_address(self) -> str:
        """Returns its place in a data block that begins with the station's block."""
        if self.kind == "bool":
            return f"DBX{2 * self.word}.{self.bit}"
        return f"{'DBW' if self.words == 1 else 'DBD'}{2 * self.word}"

    @property
    def s7_type(self) -> str:
        """Returns its type in TIA Portal."""
        return _S7_TYPES[self.kind]


def _block(start: int, *entries: tuple[str, str, str]) -> tuple[Tag, ...]:
    """Returns the tags of a block: bits in its first word, and numbers behind."""
    tags, bit, word = [], 0, start + 1
    for name, kind, meaning in entries:
        if kind == "bool":
            tags.append(Tag(name, kind, start, bit, meaning))
            bit += 1
        else:
            tags.append(Tag(name, kind, word, 0, meaning))
            word += _LENGTHS[kind]
    return tuple(tags)


STATION_TAGS = _block(
    STATION_START,
    ("ready", "bool", "The station can take a trigger now."),
    ("busy", "bool", "A part was triggered, and its result is not shown yet."),
    ("done", "bool", "The result below is new; it stays until it is acknowledged."),
    ("ok", "bool", "The part of the result is OK."),
    ("ng", "bool", "The part of the result is NG."),
    ("error", "bool", "The last trigger gives no result; error_code says why. It falls with the trigger."),
    ("error_code", "uint16", "See the table of errors; 0 without an error."),
    ("heartbeat", "uint16", "Counts up twice a second while the product can be inspected; else stands."),
    ("active_product", "uint16", "Number of the product that the next trigger is inspected as."),
    ("part_counter", "uint32", "Number of the result: each result of this output counts up by 1."),
    ("result_trigger", "uint32", "trigger_number of the part of the result; 0 if it came otherwise."),
    ("score", "float32", "Score of the part."),
    ("threshold", "float32", "Threshold that the score was compared with."),
    ("tail_probability", "float32", "How probable such a score is among good parts."),
)
PLC_TAGS = _block(
    PLC_START,
    ("trigger", "bool", "Rises to have a part inspected; stays until done or error."),
    ("product_number", "uint16", "Product of the next part: its place in the setting products; 0 keeps it."),
    (
        "trigger_number",
        "uint32",
        "Number of the part, other than that of the part before; set before trigger.",
    ),
    ("acknowledged", "uint32", "part_counter of the last result that the PLC has taken."),
)


class Errors:
    """This class holds the values of `error_code`."""

    NONE = 0
    PRODUCT = 1
    UNAVAILABLE = 2
    UNREADABLE = 3
    EARLY = 4
    REPEATED = 5


ERRORS = {
    Errors.PRODUCT: "product_number is none of the products of this output.",
    Errors.UNAVAILABLE: "There is no camera, no model, or the station is stopping.",
    Errors.UNREADABLE: "The image cannot be inspected; the part stands among the missed parts.",
    Errors.EARLY: "The trigger came while the station was not ready, and was left out.",
    Errors.REPEATED: "trigger_number is that of the part before, whose result was acknowledged.",
}


def pack(tags: Sequence[Tag], values: Values) -> list[int]:
    """Returns the words of a block; numbers that do not fit are bounded.

    Args:
        tags: `STATION_TAGS` or `PLC_TAGS`.
        values: of tags by name; what is missing is 0.
    """
    words = [0] * length(tags)
    start = tags[0].word
    for tag in tags:
        value = values.get(tag.name, 0)
        at = tag.word - start
        if tag.kind == "bool":
            words[at] |= bool(value) << tag.bit
            continue
        if tag.kind == "float32":
            packed = struct.pack(">f", max(-3.4e38, min(3.4e38, float(value))))
        else:
            packed = struct.pack(_FORMATS[tag.kind], int(value) % (1 << 16 * tag.words))
        words[at : at + tag.words] = struct.unpack(f">{tag.words}H", packed)
    return words


def unpack(tags: Sequence[Tag], words: Sequence[int]) -> dict[str, Value]:
    """Returns the values in the words of a block, by name."""
    values: dict[str, Value] = {}
    start = tags[0].word
    for tag in tags:
        at = tag.word - start
        if tag.kind == "bool":
            values[tag.name] = bool(words[at] >> tag.bit & 1)
        else:
            packed = struct.pack(f">{tag.words}H", *words[at : at + tag.words])
            values[tag.name] = struct.unpack(_FORMATS[tag.kind], packed)[0]
    return values


def length(tags: Sequence[Tag]) -> int:
    """Returns the number of words of a block."""
    return max(tag.word + max(tag.words, 1) for tag in tags) - tags[0].word


def to_s7(words: Sequence[int]) -> bytearray:
    """Returns the bytes of a block in a data block of S7, where the bits are its first byte."""
    data = bytearray(struct.pack(f">{len(words)}H", *words))
    data[0], data[1] = data[1], data[0]
    return data


def from_s7(data: Sequence[int] | bytes | bytearray) -> list[int]:
    """Returns the words of a block, from its bytes in a data block of S7."""
    swapped = bytes([data[1], data[0], *data[2:]])
    return list(struct.unpack(f">{len(swapped) // 2}H", swapped))
