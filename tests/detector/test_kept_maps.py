"""What waits in a temporary file comes back as it was, and a full disk is said in a sentence."""

from __future__ import annotations

import resource
import tempfile

import pytest
import torch

from patchebm.detector import kept_maps
from patchebm.detector.kept_maps import KeptEvidence, KeptMaps
from patchebm.energy.fused import Evidence
from patchebm.errors import PatchebmError


@pytest.mark.parametrize("in_memory", [2**20, 100])
def test_tensors_come_back_as_they_were(in_memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_maps, "IN_MEMORY", in_memory)
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(3, 4, 5, generator=generator).half(),
        None,
        torch.randn(2, 2, generator=generator),
        torch.randn(7, 6, generator=generator)[:, ::2].half(),
        torch.zeros(0, 3).half(),
        # A single number with the strides of the matrix that it comes from.
        torch.randn(2, 2, generator=generator).T[:1, :1],
    ]
    maps = KeptMaps()
    for one in given:
        maps.append(one)
    assert len(maps) == 6
    for found, expected in zip(maps, given, strict=True):
        if expected is None:
            assert found is None
        else:
            assert found is not None
            assert found.dtype == expected.dtype
            assert torch.equal(found, expected)
    some = maps.subset([3, 1, 0])
    assert [some.has(i) for i in range(len(some))] == [True, False, True]
    assert torch.equal(some[0], given[3])  # type: ignore[arg-type]
    # What a subset keeps further overwrites nothing.
    some.append(given[2])
    maps.append(given[0])
    assert torch.equal(some[3], given[2])  # type: ignore[arg-type]
    assert torch.equal(maps[6], given[0])  # type: ignore[arg-type]


def test_what_is_read_is_a_copy() -> None:
    maps = KeptMaps()
    maps.append(torch.ones(4))
    first = maps[0]
    assert first is not None
    first += 1
    assert torch.equal(maps[0], torch.ones(4))  # type: ignore[arg-type]


def test_evidence_comes_back_by_image_and_in_order() -> None:
    both = Evidence(torch.ones(1, 2, 1, 1), torch.zeros(1, 1, 4, 4))
    alike = Evidence(*(torch.full((1, 1, 4, 4), 3.0),) * 2)
    without = Evidence(torch.full((1, 1, 2, 2), 5.0), torch.full((1, 1, 2, 2), 6.0))
    kept = KeptEvidence()
    kept.add(8, both)
    kept.add(2, alike)
    kept.add(8, without)
    assert kept.of(5) == []
    for found, expected in zip(kept.of(8) + kept.of(2), [both, without, alike], strict=True):
        assert torch.equal(found.components, expected.components)
        assert found.cells is not None
        assert expected.cells is not None
        assert torch.equal(found.cells, expected.cells)


def test_no_room_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_maps, "IN_MEMORY", 1)
    maps = KeptMaps()
    maps.append(torch.zeros(10))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a disk that has room for so much.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(PatchebmError, match="set TMPDIR") as failure:
            maps.append(torch.zeros(2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert tempfile.gettempdir() in str(failure.value)
