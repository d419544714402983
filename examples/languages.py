"""Which language a text is in: 57 languages in 24 scripts, from the names that babel ships.

CLDR, the Unicode consortium's locale data, has the names of territories, languages, scripts,
currencies, units and time zones in each of them. A text is a list of one to six names. It is the
concept that is held out, Ghana or the metre, in all languages at once: no held-out text has
anything in it whose translation was trained on.

Of languages that such lists can hardly tell apart one is here and its twins are not: Danish
without Norwegian, Indonesian without Malay, Czech without Slovak, Slovenian (and Serbian in
Cyrillic) without Croatian and Bosnian, Hindi without Marathi and Nepali, Spanish and Portuguese
without Galician, Bulgarian without Macedonian. A text in one of those is answered with its
neighbour. Names have hardly a verb: of 27 everyday questions, in as many of these languages, the
model tells no more than 16.
See: https://cldr.unicode.org.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

SEED = 0
CODES = """
am ar az bg bn ca cs cy da de el en es et eu fa fi fr ga gu he hi hu hy id is it ja ka kk km kn ko
lo lt lv ml my nl pa pl pt ro ru si sl sq sr sv sw ta te th tr uk vi zh
"""
LANGUAGES = CODES.split()
HELD_OUT = 5  # every fifth concept, by its hash
MOST = 6  # names in a text
TEXTS = {"training": 1000, "held out": 40, "calibration": 4}  # of each language
EPOCHS = 4
VOCABULARY = 16_000
LONGEST = 7  # characters of a piece: what is learnt of words must hold for others
MAX_TOKENS = 128


class Net(nn.Module):
    """Pieces of words, (N, T) int64, and their mask -> logits of languages, (N, classes).

    Args:
        pieces: how many there are.
        width: of their vectors.
    """

    def __init__(self, pieces: int, width: int = 48) -> None:
        super().__init__()
        self.embedding = nn.Embedding(pieces, width)
        self.neighbours = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.classifier = nn.Linear(3 * width, len(LANGUAGES))
        self.dropout = nn.Dropout(0.3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The mean of pieces, and of each with its neighbours, in company as alone."""
        mask = attention_mask.unsqueeze(-1).float()
        pieces = self.dropout(self.embedding(input_ids)) * mask
        around = torch.relu(self.neighbours(pieces.transpose(1, 2))).transpose(1, 2) * mask
        mean = torch.cat([pieces, around], dim=2).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        logits: torch.Tensor = self.classifier(self.dropout(mean))
        return logits


def model() -> nn.Module:
    """The untrained model."""
    return Net(tokenizer().get_vocab_size())


@cache
def names() -> dict[str, dict[str, str]]:
    """By language, what it calls each concept, as "currency EUR" or "zone Arabian standard"."""
    from babel import Locale

    return {language: _names(Locale.parse(language)) for language in LANGUAGES}


def _names(locale: Any) -> dict[str, str]:
    kinds: dict[str, Mapping[str, str]] = {
        "territory": {code: name for code, name in locale.territories.items() if code.isalpha()},
        "language": {code: name for code, name in locale.languages.items() if "_" not in code},
        "script": locale.scripts,
        "currency": locale.currencies,
        "unit": {
            unit: forms["long"]
            for unit, forms in locale._data["unit_display_names"].items()
            if "long" in forms
        },
        "zone": {
            f"{zone} {form}": name
            for zone, lengths in locale.meta_zones.items()
            for form, name in lengths.get("long", {}).items()
        },
    }
    return {
        f"{kind} {code}": name
        for kind, called in kinds.items()
        for code, name in sorted(called.items())
        if name != code
    }


def is_held_out(concept: str) -> bool:
    """Whether no text of the training names it, in any language; a zone in none of its forms."""
    kind, code, *_ = concept.split()
    return hashlib.sha256(f"{kind} {code}".encode()).digest()[0] % HELD_OUT == 0


@cache
def texts(part: str) -> list[tuple[str, str]]:
    """The texts of a part, one of TEXTS, and the language of each; mixed, and always the same.

    Each has a name in it that no other language has in the same letters.
    """
    from babel import Locale

    shared = Counter(name for called in names().values() for name in set(called.values()))
    chance = random.Random(f"{SEED} {part}")  # noqa: S311 - no secret
    found = []
    for language, called in names().items():
        pattern = Locale.parse(language).list_patterns["standard"]
        known = [name for concept, name in called.items() if not is_held_out(concept)]
        if part == "held out":  # without homonyms: Georgia is the name of two territories
            known = sorted(set(called.values()) - set(known))
        for _ in range(TEXTS[part]):
            count, chosen = chance.randint(1, MOST), [""]
            while all(shared[name] != 1 for name in chosen):
                chosen = chance.sample(known, count)
            found.append((_listed(chosen, pattern, chance), language))
    chance.shuffle(found)
    return found


def _listed(names: Sequence[str], pattern: Mapping[str, str], chance: random.Random) -> str:
    """Names as the language lists them, "a, b and c", or one behind the other."""
    if len(names) == 1 or chance.random() < 0.5:
        return " ".join(names)
    if len(names) == 2:
        return pattern["2"].format(*names)
    text = pattern["start"].format(names[0], names[1])
    for name in names[2:-1]:
        text = pattern["middle"].format(text, name)
    return pattern["end"].format(text, names[-1])


@cache
def tokenizer() -> Any:
    """Pieces of at most LONGEST letters, of the training's names alone."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.normalizers import NFKC, Lowercase, Sequence
    from tokenizers.pre_tokenizers import Metaspace
    from tokenizers.trainers import BpeTrainer

    made = Tokenizer(BPE(unk_token="[UNK]"))  # noqa: S106
    made.normalizer, made.pre_tokenizer = Sequence([NFKC(), Lowercase()]), Metaspace()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["[PAD]", "[UNK]"],
        max_token_length=LONGEST,
        show_progress=False,
    )
    known = [v for called in names().values() for k, v in called.items() if not is_held_out(k)]
    made.train_from_iterator(known, trainer)
    return made


def train(module: nn.Module) -> None:
    """Train in place: some forty seconds."""
    torch.manual_seed(SEED)
    pairs = texts("training")
    encoded = [each.ids[:MAX_TOKENS] for each in tokenizer().encode_batch([t for t, _ in pairs])]
    targets = torch.tensor([LANGUAGES.index(language) for _, language in pairs])
    # Texts of about one length share a batch; batches come in an order of chance.
    batches = torch.tensor(sorted(range(len(encoded)), key=lambda i: len(encoded[i]))).split(128)
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1e-2, total_steps=EPOCHS * len(batches)
    )
    module.train()
    for _ in range(EPOCHS):
        for number in torch.randperm(len(batches)).tolist():
            rows = [torch.tensor(encoded[index]) for index in batches[number].tolist()]
            ids = pad_sequence(rows, batch_first=True)
            logits = module(ids, (ids > 0).long())
            loss = nn.functional.cross_entropy(logits, targets[batches[number]])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def assets(module: nn.Module, folder: Path) -> None:
    """Write what travels with the model: the tokenizer, and the codes of languages."""
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "labels.json").write_text(json.dumps(LANGUAGES))


def held_out() -> list[tuple[bytes, str]]:
    """Texts of concepts that training never saw, and their languages."""
    return [(text.encode(), language) for text, language in texts("held out")]


def calibration() -> list[bytes]:
    """Texts of the training's concepts."""
    return [text.encode() for text, _ in texts("calibration")]


def main() -> None:
    """Print some texts and their languages."""
    for text, language in texts("held out")[:10]:
        print(f"{language}  {text}")


if __name__ == "__main__":
    main()
