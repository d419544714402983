from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from marsmith.arguments import order
from marsmith.errors import BuildError
from marsmith.sources.heads._on_tokens import OnTokens
from marsmith.sources.heads.text_generation import CausalLM
from marsmith.sources.onnx import OnnxModule
from tests.support.onnx_files import write

NAMES = ["a", "b", "c", "d", "e"]
subsets = st.lists(st.sampled_from(NAMES), unique=True, max_size=5)


def module(*required: str, optional: Sequence[str] = (), starred: bool = False) -> nn.Module:
    """A module of these parameters, which answers what each of them was given, by name."""
    parameters = [
        *required,
        *(f"{name}=None" for name in optional),
        *(["*rest"] if starred else []),
    ]
    said = ", ".join(f"'{name}': {name}" for name in (*required, *optional))
    code = f"def forward({', '.join(['self', *parameters])}): return {{{said}}}"
    made: dict[str, Any] = {}
    exec(code, made)  # noqa: S102
    found: nn.Module = type("Made", (nn.Module,), {"forward": made["forward"]})()
    return found


@given(subsets, st.integers(0, 5), subsets, st.booleans(), st.randoms())
def test_what_is_not_refused_goes_where_its_name_says(
    parameters: list[str], count: int, tensors: list[str], starred: bool, random: Any
) -> None:
    """Whatever a module takes and a task gives, each tensor arrives under its own name."""
    assume(tensors)
    required, optional = parameters[:count], parameters[count:]
    made = module(*required, optional=optional, starred=starred)
    try:
        found = order(made, tensors)
    except BuildError:
        meet = set(required) <= set(tensors) <= set(parameters)
        prefix = set(tensors) == set(parameters[: len(tensors)])
        assert not (meet and prefix), "what can go in by name is not refused"
        return
    assert sorted(found) == sorted(tensors)
    arrived = made(*found)  # each tensor is its own name
    named = {name: given for name, given in arrived.items() if given is not None}
    if set(tensors) & set(parameters) or len(tensors) > 1:
        assert all(name == given for name, given in named.items())
    shuffled = random.sample(tensors, len(tensors))
    rest = [name for name in tensors if name not in parameters]
    if len(rest) < 2:
        assert order(made, shuffled) == found, "the handler's order counts for nothing"


@pytest.mark.parametrize("turn", list(itertools.permutations(["ids", "mask", "types"])))
def test_the_handlers_order_does_not_count(turn: tuple[str, ...]) -> None:
    assert order(module("ids", "mask", "types"), turn) == ["ids", "mask", "types"]
    assert order(module("ids", optional=["mask", "types"]), turn) == ["ids", "mask", "types"]


def test_what_has_a_default_may_be_left_out_at_the_end() -> None:
    made = module("ids", optional=["mask", "types"])
    assert order(made, ["ids"]) == ["ids"]
    assert order(made, ["mask", "ids"]) == ["ids", "mask"]


@pytest.mark.parametrize(
    "made",
    [module("x"), module("x", optional=["mask"]), module(optional=["x"]),
     module("x", starred=True), module(starred=True), nn.Sequential(nn.Linear(2, 2))],
)  # fmt: skip
def test_a_single_tensor_can_only_go_to_one_place(made: nn.Module) -> None:
    assert order(made, ["image"]) == ["image"]


def test_what_a_star_takes_goes_in_as_the_handler_orders_it() -> None:
    past = ["past.1.key", "past.0.key"]
    assert order(module(starred=True), ["b", "a"]) == ["b", "a"]
    made = module("input_ids", "past_tokens", starred=True)
    assert order(made, [*past, "past_tokens", "input_ids"]) == ["input_ids", "past_tokens", *past]


@pytest.mark.parametrize(
    ("made", "tensors", "words"),
    [
        (module("a", "b"), ["x", "y"], "Made.forward takes a, b: nothing says where x and y must"),
        (module("a", "b"), ["b", "x"], "Made.forward takes a, b: nothing says where x must go"),
        (module("a", "b"), ["a"], "b must be given"),
        (module("a", "b"), ["x"], "nothing says where x must go"),
        (module("a"), ["x", "y"], "takes a: nothing says where x and y must go"),
        (module(optional=["mask", "a"]), ["a"], "by position, and mask before a isn't given"),
        (module(optional=["mask", "a"]), ["x"], r"takes mask \(or not\), a \(or not\): nothing"),
        (module("a", starred=True), ["x", "y"], r"takes a, \*args: nothing says where x and y"),
        (module(), ["x"], "takes nothing"),
    ],
)
def test_what_does_not_meet_is_refused_and_said(
    made: nn.Module, tensors: list[str], words: str
) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        order(made, tensors)
    assert caught.value.message.startswith(f"the task gives {', '.join(tensors)}, and ")
    assert "the parameters of forward the same names" in caught.value.hint


class Keyword(nn.Module):
    def forward(self, image: torch.Tensor, *, mask: torch.Tensor) -> torch.Tensor:
        return image * mask


def test_what_is_taken_by_keyword_alone_is_refused() -> None:
    with pytest.raises(BuildError, match="takes mask by keyword alone") as caught:
        order(Keyword(), ["image", "mask"])
    assert "'*'" in caught.value.hint


class Subtracting(nn.Module):
    def forward(
        self, minuend: torch.Tensor, subtrahend: torch.Tensor, times: int = 1
    ) -> torch.Tensor:
        return minuend - subtrahend * times


class Summing(nn.Module):
    def forward(self, ids: torch.Tensor, *past: torch.Tensor) -> torch.Tensor:
        return ids + past[0] + past[1]


ROWS = tuple(torch.rand(3, 2, 2))


def saved_and_loaded(scripted: torch.jit.ScriptModule, folder: Path) -> nn.Module:
    torch.jit.save(scripted, str(folder / "model.pt"))
    loaded: nn.Module = torch.jit.load(str(folder / "model.pt"))
    return loaded


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("trace", [True, False])
def test_torchscript_keeps_the_names_of_forward(tmp_path: Path, trace: bool, freeze: bool) -> None:
    made = Subtracting().eval()
    scripted = torch.jit.trace(made, ROWS[:2]) if trace else torch.jit.script(made)
    loaded = saved_and_loaded(torch.jit.freeze(scripted) if freeze else scripted, tmp_path)
    assert order(loaded, ["subtrahend", "minuend"]) == ["minuend", "subtrahend"]
    with pytest.raises(BuildError, match=r"Subtracting\.forward takes minuend, subtrahend"):
        order(loaded, ["a", "b"])


def test_names_that_a_trace_has_made_of_a_star_are_a_star(tmp_path: Path) -> None:
    loaded = saved_and_loaded(torch.jit.trace(Summing(), ROWS), tmp_path)
    assert order(loaded, ["past.1", "past.0", "ids"]) == ["ids", "past.1", "past.0"]
    with pytest.raises(BuildError, match="takes ids, argument_2, argument_3"):
        order(loaded, ["a", "b", "c"])


def test_torchscript_without_forward_is_refused() -> None:
    class Other(nn.Module):
        @torch.jit.export
        def run(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with pytest.raises(BuildError, match="has no forward"):
        order(torch.jit.script(Other()), ["x"])


def program(made: nn.Module, *inputs: torch.Tensor) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts, to each other
        return torch.export.export(made, inputs).module(check_guards=False)


def test_an_exported_program_keeps_the_names_and_numbers_those_of_a_star() -> None:
    assert order(program(Subtracting(), *ROWS[:2]), ["subtrahend", "minuend"]) == [
        "minuend",
        "subtrahend",
    ]
    summing = program(Summing(), *ROWS)
    assert order(summing, ["past.1", "past.0", "ids"]) == ["ids", "past.1", "past.0"]
    assert order(summing, ["past_1", "past_0", "ids"]) == ["ids", "past_0", "past_1"]
    with pytest.raises(BuildError, match=r"takes ids, past_0, past_1: nothing says where a and b"):
        order(summing, ["a", "b", "past_0"])


def test_an_onnx_files_names_are_its_own(tmp_path: Path) -> None:
    made = OnnxModule(write(tmp_path / "small.onnx"))
    assert order(made, ["ids", "x"]) == ["x", "ids"]
    with pytest.raises(BuildError, match=r"and small\.onnx takes x, ids") as caught:
        order(made, ["first", "second"])
    assert "input_names" in caught.value.hint
    with pytest.raises(BuildError, match="ids must be given"):
        order(made, ["x"])


def test_heads_take_the_tensors_of_their_tasks() -> None:
    tokens = ["token_type_ids", "attention_mask", "input_ids"]
    head = OnTokens(nn.Identity())
    assert order(head, tokens) == tokens[::-1]
    assert order(head, tokens[1:]) == tokens[:0:-1]
    generating = CausalLM.__new__(CausalLM)
    past = ["past.0.key", "past.0.value"]
    given = ["past_tokens", *past, "input_ids"]
    assert order(generating, given) == ["input_ids", "past_tokens", *past]
