"""Questions about real functions: what a parameter is by default, of what type, what is returned.

Contexts are signatures and what is said below them, from the sources of Python and of PyTorch,
which are read and never executed; the answers are where Python's own parser finds them. Both come
with every installation, so nothing is downloaded; another version has slightly other functions.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import random
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from examples import word_pieces

SEED = 0
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3"}
OF_TORCH = ("nn", "optim", "utils/data", "distributions", "distributed", "ao")  # what has types
MAX_BYTES = 100_000  # of a file
HELD_OUT = 5  # every fifth file, by the hash of its name
MAX_TRAINING, MAX_EVALUATION, CALIBRATION = 12_000, 600, 160
MAX_CONTEXT = 800  # characters
MAX_TOKENS, OVERLAP = 96, 32  # of a window
VOCABULARY = 6000
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
EPOCHS = 2
ASKED = {
    "default": ("What is {} by default?", "What is the default of {}?", "default of {}"),
    "type": ("What type is {}?", "What is the type of {}?", "type of {}"),
    "returns": ("What does {} return?", "What is the return type of {}?", "{} returns what?"),
}


class Question(NamedTuple):
    """A question, a context, and where in it the answer is; nowhere where `start` is `end`."""

    question: str
    context: str
    start: int
    end: int

    @property
    def answer(self) -> str:
        """The answer's text; "" where there is none."""
        return self.context[self.start : self.end]


class Reader(nn.Module):
    """Convolutions over tokens that know whether they are in the question.

    Tokens, their mask and types, (N, T) int64, a question's of type 0 and behind it a context's
    of type 1 -> logits of where an answer begins and where it ends, (N, T, 2); at the first token,
    of whether there is none.

    See: D. Chen et al., Reading Wikipedia to Answer Open-Domain Questions, 2017, section 3.2.
    """

    def __init__(self, vocabulary: int = VOCABULARY, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.matches = nn.Linear(3, width)
        self.asked = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.1)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=step, dilation=step) for step in (1, 2, 4, 8, 1)
        )
        self.ends = nn.Linear(width, 2)
        self.none = nn.Linear(width, 2)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Read a batch of questions; padding is as nothing, as beyond the ends."""
        kind = self.embedding.weight.dtype
        mask, context = attention_mask.to(kind), token_type_ids.to(kind)
        asks = mask * (1 - context)
        words = self.dropout(self.embedding(input_ids))
        question = (words * asks.unsqueeze(-1)).sum(1) / asks.sum(1, keepdim=True)
        features = self.matches(_matches(input_ids, asks, context))
        states = words + features + self.asked(question).unsqueeze(1)
        states, mask = states.transpose(1, 2) * mask.unsqueeze(1), mask.unsqueeze(1)
        for layer in self.layers:
            states = (states + self.dropout(torch.relu(layer(states)))) * mask
        none = self.none(states.amax(dim=2))
        logits: torch.Tensor = self.ends(states.transpose(1, 2))
        return torch.cat([none.unsqueeze(1), logits[:, 1:]], dim=1)


def _matches(ids: torch.Tensor, asks: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Of each token whether the question has it, with the one behind it, and whose it is."""
    alike = (ids.unsqueeze(2) == ids.unsqueeze(1)).to(asks.dtype) * asks.unsqueeze(1)
    both = alike[:, :-1, :-1] * alike[:, 1:, 1:]
    pairs = nn.functional.pad(both.amax(dim=2), (0, 1))
    return torch.stack([alike.amax(dim=2) * context, pairs * context, context], dim=-1)


def model() -> nn.Module:
    """The untrained model."""
    return Reader()


def files() -> list[tuple[str, Path]]:
    """Names, the same on every machine, and files."""
    standard = Path(sysconfig.get_path("stdlib"))
    package = Path(importlib.util.find_spec("torch").submodule_search_locations[0])  # type: ignore[union-attr,index]
    found = []
    for root, folders in ((standard, ("",)), (package, OF_TORCH)):
        for folder in folders:
            for path in sorted((root / folder).rglob("*.py")):
                inner = path.relative_to(root)
                if not SKIPPED & set(inner.parts) and path.stat().st_size <= MAX_BYTES:
                    found.append((inner.as_posix(), path))
    return found


def is_held_out(name: str) -> bool:
    """Whether what is in the file is for the evaluation."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % HELD_OUT == 0


@cache
def questions(held_out: bool) -> list[Question]:
    """Questions about the functions of one part, none twice, in an order of chance.

    Of what is held out those that training has seen all the same, in a copy, are left out.
    """
    seen = {each.context for each in questions(held_out=False)} if held_out else set()
    found: dict[Question, None] = {}
    for name, path in files():
        if is_held_out(name) == held_out:
            chance = random.Random(f"{SEED} {name}")  # noqa: S311 - no secret
            for question in of_source(path.read_bytes(), chance):
                found[question] = None
    asked = [question for question in found if question.context not in seen]
    random.Random(SEED).shuffle(asked)  # noqa: S311
    return asked[: MAX_EVALUATION if held_out else MAX_TRAINING]


def of_source(source: bytes, chance: random.Random) -> Iterator[Question]:
    """Questions about each function of a file; of one that this Python can't read, none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes in what others have written
        try:
            text = source.decode("utf-8")
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return
    lines = text.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _about(node, lines, chance)


def _about(
    node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str], chance: random.Random
) -> Iterator[Question]:
    """A question or two about a function."""
    last = node.body[0].end_lineno if ast.get_docstring(node) else node.body[0].lineno - 1
    context = "".join(lines[node.lineno - 1 : max(node.lineno, last or 0)])[:MAX_CONTEXT].rstrip()
    given = [*node.args.posonlyargs, *node.args.args]
    defaults = dict(zip(reversed(given), reversed(node.args.defaults), strict=False))
    defaults |= {
        a: d for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if d
    }
    parts: list[tuple[str, str, ast.expr | None]] = []
    for argument in [*given, *node.args.kwonlyargs]:
        if argument.arg not in ("self", "cls"):
            parts.append(("default", argument.arg, defaults.get(argument)))
            parts.append(("type", argument.arg, argument.annotation))
    parts.append(("returns", node.name, node.returns))
    answered = [part for part in parts if part[2] is not None]
    chosen = chance.sample(answered, min(2, len(answered)))
    if chance.random() < 0.2:
        chosen += chance.sample([part for part in parts if part[2] is None] or parts, 1)
    for kind, name, expression in chosen:
        start, end = _place(expression, node.lineno, lines) if expression else (0, 0)
        if end <= len(context):
            yield Question(chance.choice(ASKED[kind]).format(name), context, start, end)


def _place(node: ast.expr, first: int, lines: list[str]) -> tuple[int, int]:
    """Where an expression is in the text that begins at a line, in code points."""

    def at(line: int, column: int) -> int:
        before = sum(map(len, lines[first - 1 : line - 1]))
        return before + len(lines[line - 1].encode()[:column].decode())

    return at(node.lineno, node.col_offset), at(node.end_lineno or 0, node.end_col_offset or 0)


@cache
def _tokenizer() -> Any:
    """Words in parts, and every sign on its own; a question and a context with types."""
    from tokenizers import Regex, pre_tokenizers, processors

    words = pre_tokenizers.Split(Regex(r"\d|[^\W\d]+|[^\w\s]"), "removed", invert=True)
    asked = questions(held_out=False)
    texts = [*dict.fromkeys(each.context for each in asked), *(each.question for each in asked)]
    tokenizer = word_pieces.learn(texts, VOCABULARY, SPECIAL, words)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in SPECIAL[2:]],
    )
    return tokenizer


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer."""
    _tokenizer().save(str(folder / "tokenizer.json"))


def _windows() -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Tokens, types and the answer's first and last token; of each question every window."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(_tokenizer().to_str())
    tokenizer.enable_truncation(MAX_TOKENS, stride=OVERLAP, strategy="only_second")
    asked = questions(held_out=False)
    found = []
    encodings = tokenizer.encode_batch([(each.question, each.context) for each in asked])
    for each, encoding in zip(asked, encodings, strict=True):
        for window in [encoding, *encoding.overflowing][:2]:
            inside = [
                place
                for place, (start, end) in enumerate(window.offsets)
                if window.sequence_ids[place] == 1 and start >= each.start and end <= each.end
            ]
            whole = inside and window.offsets[inside[0]][0] == each.start
            whole = whole and window.offsets[inside[-1]][1] == each.end
            target = [inside[0], inside[-1]] if whole else [0, 0]
            ids, types = torch.tensor(window.ids), torch.tensor(window.type_ids)
            found.append((ids, types, torch.tensor(target)))
    return found


def train(module: nn.Module) -> None:
    """Train in place on the questions about the training's functions: under a minute."""
    made = _windows()
    torch.manual_seed(SEED)
    # Of like lengths together: less is padded.
    batches = torch.tensor(sorted(range(len(made)), key=lambda place: len(made[place][0]))).split(
        64
    )
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.02)
    steps = EPOCHS * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for number in torch.randperm(len(batches)).tolist():
            chosen = [made[place] for place in batches[number].tolist()]
            ids, types = (pad_sequence([each[i] for each in chosen], True) for i in (0, 1))
            mask = pad_sequence([torch.ones_like(each[0]) for each in chosen], True)
            logits = module(ids, mask, types).masked_fill(_other(mask, types), -1e4)
            targets = torch.stack([each[2] for each in chosen])
            loss = nn.functional.cross_entropy(logits, targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def _other(mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
    """What can't be in an answer: (N, T, 1) bool; the first token stands for none."""
    other = (mask * types) == 0
    other[:, 0] = False
    return other.unsqueeze(-1)


def held_out() -> list[tuple[bytes, str]]:
    """Questions about functions of files that training never saw, and the answers."""
    return [(_body(each), each.answer) for each in questions(held_out=True)]


def calibration() -> list[bytes]:
    """Some of the training's questions, for the ranges of static quantisation."""
    return [_body(each) for each in questions(held_out=False)[:CALIBRATION]]


def _body(asked: Question) -> bytes:
    return json.dumps({"question": asked.question, "context": asked.context}).encode()


def main() -> None:
    """Print a request body and the answer."""
    body, answer = held_out()[0]
    print(body.decode())
    print(answer)


if __name__ == "__main__":
    main()
