"""What a prediction was made of, of small models whose attributions are known."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from handlers import explanations
from handlers.errors import BadRequest, ModelError
from handlers.explanations import ExplanationOptions as Options
from handlers.runtimes import Tensors
from handlers.runtimes.eager import ModuleRuntime
from handlers.task import Sample

WIDTH, KINDS = 5, 4
DEFAULT, OCCLUSION = Options(), Options(method="occlusion")


def with_gradients(module: nn.Module) -> ModuleRuntime:
    module.eval()
    return ModuleRuntime(module, torch.device("cpu"), None, lambda: module)


def without_gradients(module: nn.Module) -> ModuleRuntime:
    return ModuleRuntime(module.eval(), torch.device("cpu"))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, 3)


def mlp() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(WIDTH, 16), nn.SiLU(), nn.Linear(16, 3))


class Mixed(nn.Module):
    """Numbers and categories, which are looked up: (N, 5) float and (N, 2) int64 to (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.numbers = nn.Linear(WIDTH, 3)
        self.categories = nn.Embedding(2 * KINDS, 3)

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        assert categories.dtype == torch.int64
        found = self.categories(categories + torch.tensor([0, KINDS])).sum(dim=1)
        added: torch.Tensor = self.numbers(numbers) + found
        return added


class Flags(nn.Module):
    """Three inputs, one of booleans: (N, 5), (N, 3) bool, (N, 2, 2) to (N,)."""

    def forward(
        self, numbers: torch.Tensor, flags: torch.Tensor, image: torch.Tensor
    ) -> torch.Tensor:
        assert flags.dtype == torch.bool
        return numbers.sum(1) + torch.where(flags, 10.0, 0.0).sum(1) + 100 * image.sum((1, 2))


def first(outputs: Tensors) -> torch.Tensor:
    output = next(iter(outputs.values()))
    return output if output.dim() > 1 else output[:, None]


def attribute(
    runtime: Any, inputs: Tensors, targets: list[int], options: Options = DEFAULT, **more: Any
) -> Tensors:
    windows = more.pop("windows", {})
    return explanations.attribute(
        runtime, inputs, torch.tensor(targets), options, windows, first, **more
    )


def rows(count: int = 4) -> Tensors:
    return {"numbers": torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(3))}


@pytest.mark.parametrize("options", [Options(), OCCLUSION])
def test_of_a_linear_model_each_number_has_added_itself_times_its_weight(options: Options) -> None:
    module, inputs, targets = linear(), rows(), [0, 2, 1, 1]
    found = attribute(with_gradients(module), inputs, targets, options)["numbers"]
    wanted = inputs["numbers"] * module.get_parameter("weight")[targets]
    torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=1e-4)
    assert (found.dtype, found.requires_grad) == (torch.float32, False)


def test_gradients_sum_to_what_the_input_changes() -> None:
    module, inputs, targets = mlp(), rows(), [0, 1, 2, 0]
    found = attribute(with_gradients(module), inputs, targets)["numbers"]
    change = module(inputs["numbers"]) - module(torch.zeros(1, WIDTH))
    wanted = change[range(4), targets].detach()
    torch.testing.assert_close(found.sum(dim=1), wanted, atol=1e-4, rtol=1e-3)


def test_what_a_model_makes_nothing_of_has_added_nothing() -> None:
    class Half(nn.Module):
        def forward(self, used: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
            return used * 2

    inputs = {"used": torch.ones(2, 3), "unused": torch.ones(2, 4)}
    found = attribute(with_gradients(Half()), inputs, [0, 1])
    assert found["unused"].tolist() == [[0] * 4] * 2
    torch.testing.assert_close(found["used"], torch.tensor([[2.0, 0, 0], [0, 2, 0]]))


def test_occlusion_is_what_each_category_changes_when_it_is_missing() -> None:
    module = Mixed().eval()
    inputs = {**rows(3), "categories": torch.tensor([[1, 2], [0, 3], [3, 0]])}
    targets = [0, 1, 2]
    found = attribute(with_gradients(module), inputs, targets)

    @torch.no_grad()
    def changed(name: str, column: int) -> torch.Tensor:
        without = {**inputs, name: inputs[name].clone()}
        without[name][:, column] = 0
        change: torch.Tensor = module(*inputs.values()) - module(*without.values())
        return change[range(3), targets]

    for name, each in found.items():
        wanted = torch.stack([changed(name, column) for column in range(each.shape[1])], dim=1)
        torch.testing.assert_close(each, wanted, atol=1e-5, rtol=1e-4)
    missing = found["categories"][[1, 2], [0, 1]]
    torch.testing.assert_close(missing, torch.zeros(2))
    with pytest.raises(BadRequest, match="no gradients of whole numbers") as caught:
        attribute(with_gradients(module), inputs, targets, Options(method="integrated_gradients"))
    assert (caught.value.status, caught.value.hint) == (422, "ask for the method occlusion")


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_inputs_of_other_kinds_and_shapes_are_occluded_too(count: int) -> None:
    inputs = {
        **rows(count),
        "flags": torch.tensor([[True, False, True]] * count),
        "image": torch.ones(count, 2, 2),
    }
    found = attribute(with_gradients(Flags()), inputs, [0] * count, windows={"image": (1, 2)})
    torch.testing.assert_close(found["numbers"], inputs["numbers"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found["flags"], torch.tensor([[10.0, 0, 10]] * count))
    torch.testing.assert_close(found["image"], torch.full((count, 2, 2), 200.0))


@pytest.mark.parametrize("options", [Options(), OCCLUSION, Options(steps=2)])
def test_in_company_each_is_explained_as_alone(options: Options) -> None:
    runtime, inputs = with_gradients(mlp()), rows(24)["numbers"]
    alone = [
        attribute(runtime, {"numbers": inputs[index : index + 1]}, [index % 3], options)["numbers"]
        for index in range(24)
    ]

    @settings(max_examples=15)
    @given(st.lists(st.integers(0, 23), min_size=1, max_size=24))
    def check(chosen: list[int]) -> None:
        targets = [index % 3 for index in chosen]
        found = attribute(runtime, {"numbers": inputs[chosen]}, targets, options)["numbers"]
        wanted = torch.cat([alone[index] for index in chosen])
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)

    check()


def test_without_gradients_it_is_occlusion_unless_they_are_asked_for() -> None:
    module, inputs = mlp(), rows(2)
    found = attribute(without_gradients(module), inputs, [0, 1])
    wanted = attribute(with_gradients(module), inputs, [0, 1], OCCLUSION)
    torch.testing.assert_close(found, wanted)
    asked = Options(method="integrated_gradients")
    with pytest.raises(BadRequest, match="runtime has no gradients") as caught:
        attribute(without_gradients(module), inputs, [0, 1], asked)
    assert (caught.value.status, caught.value.hint) == (422, "ask for the method occlusion")


@pytest.mark.parametrize("options", [Options(steps=64), OCCLUSION])
def test_it_stops_when_there_is_no_time_left(options: Options) -> None:
    left = iter([None, None])

    def check_time() -> None:
        if next(left, 0) == 0:
            raise ModelError("there was no time left for this", status=503)

    with pytest.raises(ModelError, match="no time left"):
        attribute(with_gradients(mlp()), rows(16), [0] * 16, options, check_time=check_time)


def test_a_server_without_captum_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    explanations.check()
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(BadRequest, match="has no captum") as caught:
        explanations.check()
    assert (caught.value.status, caught.value.hint) == (400, "pip install captum there")


def test_a_request_names_what_is_explained() -> None:
    def targets(*wanted: str | None, names: list[str]) -> list[int]:
        samples = [Sample({}, Options(target=each), None) for each in wanted]
        found: list[int] = explanations.classes(
            torch.full((len(wanted),), 1), names, samples
        ).tolist()
        return found

    assert targets("b", None, "a", names=["a", "b"]) == [1, 1, 0]
    many = [f"label {index}" for index in range(300)]
    for wanted in ("label 29x", "\ud800", "label 29" * 100_000):
        with pytest.raises(BadRequest) as caught:
            targets(wanted, names=many)
        assert caught.value.status == 422
        assert "and 280 more" in caught.value.message
        assert len(caught.value.message) < 600
    with pytest.raises(BadRequest, match=r"did you mean 'label 29'\?"):
        targets("label  29", names=many)
