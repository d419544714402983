"""Folders whose model no head runs as it was trained, and what to do with them instead."""

from __future__ import annotations

from pathlib import Path

from marsmith.errors import UnsupportedError
from marsmith.sources.heads import read_object

AS_TENSORS = (
    "serve it by its tensors: task: tensors, runtime: onnx, and a 'source.factory' whose module"
    " returns {} alone"
)
WRITES = "ForCausalLM"
KINDS = {
    "ForXVector": ("makes a vector of a voice", AS_TENSORS.format("its embeddings")),
    "ForTextToSpeech": (
        "writes spectra frame by frame, of which a vocoder in another folder makes sound",
        "use a VITS, which is one model; or bring a 'source.factory' whose module makes waveforms"
        " of texts: `marsmith new NAME --task speech_synthesis`",
    ),
    "ForUniversalSegmentation": (
        "finds masks and their classes, which its processor joins to a class for every pixel",
        AS_TENSORS.format("class_queries_logits and masks_queries_logits"),
    ),
}
"""What models are whose classes end with that, for which there is no task."""


def refuse(folder: Path, task: str) -> None:
    """Refuse a folder that no head runs as it was trained.

    Args:
        folder: a Hugging Face model.
        task: the head that is asked for.

    Raises:
        UnsupportedError: it is one; the hint has what to do.
    """
    if task == "tensors":  # takes what it can run, and answers all that comes out
        return
    named = read_object(folder / "config.json").get("architectures")
    for name in map(str, named if isinstance(named, list) else ()):
        for end, (what, hint) in KINDS.items():
            if name.endswith(end):
                raise UnsupportedError(f"{folder.name} is a {name}, which {what}", hint)
        if task == "reranking" and name.endswith(WRITES):
            other = name.removesuffix(WRITES) + "ForSequenceClassification"
            raise UnsupportedError(
                f"{folder.name} is a {name}, which writes text: what it says of a pair is how"
                " likely its next token is 'yes' rather than 'no', behind a prompt of its own",
                f"save it as {other} with num_labels=1, whose score.weight is the row of 'yes' in"
                " lm_head.weight less the row of 'no', and what stands around a pair as the"
                " post_processor of its tokenizer.json",
            )
