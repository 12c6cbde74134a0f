"""Names of devices."""

from __future__ import annotations

import pytest
import torch

from patchebm.device import available_devices, require_devices, resolve_device
from patchebm.errors import ConfigError


def test_the_cpu_is_always_there_and_comes_last() -> None:
    assert available_devices()[-1] == "cpu"
    assert resolve_device("cpu") == torch.device("cpu")


def test_auto_is_the_first_there_and_a_device_is_itself() -> None:
    assert resolve_device("auto") == torch.device(available_devices()[0])
    assert resolve_device(torch.device("cuda:7")) == torch.device("cuda:7")


def test_a_gpu_is_chosen_by_kind_and_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no GPU to ask for here; all else is real.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert available_devices()[:2] == ["cuda:0", "cuda:1"]
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"cuda:2 is not there: .* finds cuda:0, cuda:1, .*cpu"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:1", "auto:0", "mps:1", "", "CUDA"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="use auto, cpu, cuda"):
        resolve_device(name)


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    if "cuda:0" in available_devices():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(ConfigError, match=r"device cuda is not there: PyTorch .* finds .*cpu on this"):
        resolve_device("cuda")


def test_more_devices_than_there_are_and_one_by_its_number_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_devices("cuda", 2)
    require_devices("cuda:1", 1)
    with pytest.raises(
        ConfigError, match=r"--devices is 3, and PyTorch finds 2 devices of the kind cuda; give at"
    ):
        require_devices("auto", 3)
    with pytest.raises(
        ConfigError, match=r"--device cuda:1 is one device and --devices asks for 2; use --device c"
    ):
        require_devices("cuda:1", 2)
