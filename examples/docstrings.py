"""Which function is meant: names of functions as queries, and what is said of functions to rank.

"get close matches" should find "Use SequenceMatcher to return list of the best matches". Names and
sentences are from the sources of Python and of PyTorch, which are read and never executed; both
come with every installation, so nothing is downloaded.
"""

from __future__ import annotations

import ast
import json
import random
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from examples import signatures, word_pieces

SEED = 0
EVALUATION, CANDIDATES, CALIBRATION = 300, 12, 100
WORDS_OF_NAME, LONGEST_SENTENCE = 2, 200
VOCABULARY, MAX_TOKENS, WIDTH = 6000, 64, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
AGAINST, EPOCHS = 3, 3
CENTRES = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5)  # of kernels

Described = tuple[str, str]
"""A function's name, as words, and the first sentence that is said of it."""


class Kernels(nn.Module):
    """How alike each token of a query is to those of a document, counted by how alike.

    Tokens, their mask and types, (N, T) int64, a query's of type 0 and behind it a document's, of
    type 1 -> logits, (N, 1).

    See: C. Xiong et al., End-to-End Neural Ad-hoc Ranking with Kernel Pooling, 2017.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.weights = nn.Embedding(VOCABULARY, 1)
        self.relevance = nn.Linear(len(CENTRES), 1)
        self.centres = nn.Parameter(torch.tensor(CENTRES), requires_grad=False)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Read a batch of pairs; padding counts for nothing."""
        kind = self.words.weight.dtype
        of_document = (attention_mask * token_type_ids).to(kind)
        of_query = attention_mask.to(kind) - of_document
        words = nn.functional.normalize(self.words(input_ids), dim=-1)
        alike = (words @ words.transpose(1, 2)).unsqueeze(-1)
        near = torch.exp(-(((alike - self.centres) / 0.1) ** 2) / 2)
        near = (near * of_document[:, None, :, None]).sum(dim=2)
        weights = torch.sigmoid(self.weights(input_ids)) * of_query.unsqueeze(-1)
        found = (torch.log1p(near) * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-3)
        logits: torch.Tensor = self.relevance(found)
        return logits


def model() -> nn.Module:
    """The untrained model."""
    return Kernels()


@cache
def functions(held_out: bool) -> list[Described]:
    """Functions of one part whose names are several words, none twice, in an order of chance.

    Of what is held out those that training has seen all the same, in a copy, are left out.
    """
    seen = {sentence for _, sentence in functions(held_out=False)} if held_out else set()
    found: dict[str, str] = {}
    for file, path in signatures.files():
        if signatures.is_held_out(file) == held_out:
            for name, sentence in of_source(path.read_bytes()):
                if sentence not in seen:
                    found.setdefault(sentence, name)
    described = [(name, sentence) for sentence, name in found.items()]
    random.Random(SEED).shuffle(described)  # noqa: S311 - no secret
    return described


def of_source(source: bytes) -> Iterator[Described]:
    """The functions of a file; of one that this Python can't read, none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes in what others have written
        try:
            tree = ast.parse(source.decode("utf-8"))
        except (SyntaxError, ValueError):
            return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            words = node.name.strip("_").split("_")
            said = ast.get_docstring(node) or ""
            sentence = re.split(r"(?<=\w)\.\s|\n\s*\n", said)[0]
            sentence = " ".join(sentence.split())
            alike = {word.lower() for word in words} & {*re.findall(r"\w+", sentence.lower())}
            # Where no word is the same, people couldn't tell either.
            if len(words) >= WORDS_OF_NAME and alike and len(sentence) <= LONGEST_SENTENCE:
                yield " ".join(words), sentence


@cache
def tokenizer() -> Any:
    """Words in parts, in lower case; a query and a document with types."""
    from tokenizers import Regex, normalizers, pre_tokenizers, processors

    words = pre_tokenizers.Split(Regex(r"\d|[^\W\d_]+|[^\w\s]"), "removed", invert=True)
    texts = [text for described in functions(held_out=False) for text in described]
    made = word_pieces.learn(texts, VOCABULARY, SPECIAL, words, normalizers.Lowercase())
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, made.token_to_id(name)) for name in SPECIAL[2:]],
    )
    return made


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer."""
    tokenizer().save(str(folder / "tokenizer.json"))


def train(module: nn.Module) -> None:
    """Train in place to tell the right sentence from others of chance: under half a minute."""
    described = functions(held_out=False)
    encode = tokenizer().encode_batch
    queries = [each.ids for each in encode([name for name, _ in described])]
    documents = [
        each.ids[1:] for each in encode([sentence for _, sentence in described])
    ]  # without [CLS]
    torch.manual_seed(SEED)
    steps = EPOCHS * len(torch.arange(len(described)).split(32))
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(described)).split(32):
            others = torch.randint(len(described), (len(chosen), AGAINST))
            asked = [
                (queries[one], documents[other])
                for one, row in zip(chosen.tolist(), others.tolist(), strict=True)
                for other in (one, *row)
            ]
            logits = module(*padded(asked)).view(len(chosen), -1)
            loss = nn.functional.cross_entropy(logits, torch.zeros(len(chosen), dtype=torch.int64))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def padded(pairs: list[tuple[list[int], list[int]]]) -> list[torch.Tensor]:
    """Tokens of pairs, their mask and types: (N, T) int64 each."""
    ids = [torch.tensor([*one, *other][:MAX_TOKENS]) for one, other in pairs]
    types = [torch.tensor([0] * len(one) + [1] * len(other))[:MAX_TOKENS] for one, other in pairs]
    return [
        pad_sequence(each, batch_first=True)
        for each in (ids, [torch.ones_like(row) for row in ids], types)
    ]


def held_out() -> list[tuple[bytes, list[int]]]:
    """Names of functions in files that training never saw, each with twelve sentences to rank."""
    return _asked(functions(held_out=True), EVALUATION)


def calibration() -> list[bytes]:
    """Some of the training's, for the ranges of static quantisation."""
    return [body for body, _ in _asked(functions(held_out=False), CALIBRATION)]


def _asked(described: list[Described], count: int) -> list[tuple[bytes, list[int]]]:
    """Requests, and the place of the right sentence in each."""
    chance = random.Random(SEED)  # noqa: S311 - no secret
    found = []
    for name, sentence in described[:count]:
        others = [each for _, each in chance.sample(described, CANDIDATES) if each != sentence]
        documents = others[: CANDIDATES - 1]
        place = chance.randrange(CANDIDATES)
        documents.insert(place, sentence)
        found.append((json.dumps({"query": name, "documents": documents}).encode(), [place]))
    return found


def main() -> None:
    """Print a request body and the place of the right sentence."""
    body, right = held_out()[0]
    print(body.decode())
    print(right)


if __name__ == "__main__":
    main()
