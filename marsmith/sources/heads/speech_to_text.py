"""Whisper: an encoder–decoder that writes what is said in recordings, or translates it."""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.protocols.base64_text import encoded
from marsmith.errors import BuildError, UnsupportedError, reason
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _sourced_decoding, _tokenizer, _untouched, _written
from marsmith.sources.heads._speech_encoder_decoder import SpeechEncoderDecoder, stride

AUTO = "AutoModelForSpeechSeq2Seq"

KIND = "whisper"
SAVE = "save what belongs to it beside the model: processor.save_pretrained(FOLDER)"
STEP, STAMP = 0.01, 0.02  # seconds: of a frame, and from one time stamp to the next
# Settings that change what Whisper writes and aren't known here, with values that change nothing.
UNKNOWN: dict[str, tuple[object, ...]] = {
    "logprob_threshold": (), "compression_ratio_threshold": (), "no_speech_threshold": (),
    "condition_on_prev_tokens": (False,), "return_token_timestamps": (False,), "min_length": (0,),
    "forced_bos_token_id": (), "forced_eos_token_id": (), "force_unique_generate_call": (False,),
    "_detect_timestamp_from_logprob": (True,),
}  # fmt: skip


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in `SpeechEncoderDecoder`.

    Raises:
        UnsupportedError: it isn't Whisper, or would write otherwise token by token than it reads
            whole texts.
    """
    config: Any = model.config
    if config.model_type != KIND:
        raise UnsupportedError(
            f"{folder.name} is a model of type {config.model_type!r}; {KIND!r} is known here",
            "use a model shaped like Whisper",
        )
    known = _sourced_decoding.whole(model, SpeechEncoderDecoder)
    module = SpeechEncoderDecoder(model, config.max_target_positions)
    _sourced_decoding.see_that_it_writes(module, known)
    return module


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer, and say the model's form, what it hears, and how it writes.

    Raises:
        BuildError: the folder lacks its feature extractor or its tokenizer.
        UnsupportedError: generation_config.json has a setting that isn't known here.
    """
    assert isinstance(module, SpeechEncoderDecoder)  # noqa: S101 - `wrap` returns no other
    model: Any = module.model
    brought = _tokenizer.bring(module, folder, out)
    layers, heads, size = module.form
    return {
        "tokenizer": brought["tokenizer"],
        **_heard(model, folder),
        "max_target_tokens": module.positions,
        "layers": layers,
        "key_value_heads": heads,
        "head_size": size,
        **_tokens(model, out / _tokenizer.FILE),
        "defaults": _defaults(model.generation_config),
    }


def _heard(model: Any, folder: Path) -> dict[str, object]:
    """How samples become frames."""
    sound = _extractor(folder)
    if getattr(sound, "dither", 0.0):
        raise UnsupportedError(
            "'dither' in preprocessor_config.json isn't known here", "set it to 0"
        )
    if sound.padding_value:
        raise UnsupportedError(
            "'padding_value' in preprocessor_config.json isn't known here", "set it to 0"
        )
    frames = sound.chunk_length * sound.sampling_rate // sound.hop_length
    wanted = stride(model) * model.config.max_source_positions
    if frames != wanted or sound.feature_size != model.config.num_mel_bins:
        raise BuildError(
            f"preprocessor_config.json makes {frames} frames of {sound.feature_size} bands; the "
            f"model takes {wanted} of {model.config.num_mel_bins}",
            SAVE,
        )
    if sound.hop_length / sound.sampling_rate != STEP:
        raise UnsupportedError("'hop_length' must be a hundredth of 'sampling_rate'")
    return {
        "sample_rate": sound.sampling_rate,
        "bands": sound.feature_size,
        "fft": sound.n_fft,
        "hop": sound.hop_length,
        "window_frames": frames,
        "stride": stride(model),
        "timestamp_seconds": STAMP,
    }


def _extractor(folder: Path) -> Any:
    try:
        auto = importlib.import_module("transformers").AutoFeatureExtractor
        found = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what is wrong in the files decides which
        raise BuildError(
            f"{folder.name} has no feature extractor that can be read: {reason(error)}", SAVE
        ) from error
    if type(found).__name__ != "WhisperFeatureExtractor":
        raise UnsupportedError(f"{folder.name}: {type(found).__name__} is not Whisper's", SAVE)
    return found


def _tokens(model: Any, file: Path) -> dict[str, object]:
    """What texts begin and end with, by the names of tokens."""
    from tokenizers import Tokenizer

    generation, tokenizer = model.generation_config, Tokenizer.from_file(str(file))

    def named(setting: str) -> list[str]:
        return _written.named(generation, tokenizer, setting)

    start, stops = named("decoder_start_token_id"), named("eos_token_id")
    if len(start) != 1 or len(stops) != 1:
        raise BuildError(
            "generation_config.json must name one 'decoder_start_token_id' and one "
            f"'eos_token_id'; it names {start} and {stops}"
        )
    suppressed = [*named("suppress_tokens"), *_written.bad_words(generation, tokenizer)]
    return {
        "start_token": start[0],
        "stop_tokens": stops,
        "suppressed_tokens": suppressed,
        "suppressed_first": named("begin_suppress_tokens"),
        "languages": _languages(generation),
        "tasks": {
            name: tokenizer.id_to_token(number)
            for name, number in (getattr(generation, "task_to_id", None) or {}).items()
        },
        "forced_tokens": _forced(model, tokenizer),
        "no_timestamps_token": "".join(named("no_timestamps_token_id")),
        "max_first_timestamp": getattr(generation, "max_initial_timestamp_index", None),
        "previous_token": "".join(named("prev_sot_token_id")),
    }


def _languages(generation: Any) -> dict[str, str]:
    """The tokens of languages, by the names that transformers knows; without one, by the code."""
    found: dict[str, str] = {}
    known = importlib.import_module("transformers.models.whisper.tokenization_whisper")
    for token in getattr(generation, "lang_to_id", None) or {}:
        code = token.removeprefix("<|").removesuffix("|>")
        names = [name for name, its in known.TO_LANGUAGE_CODE.items() if its == code] or [code]
        found |= dict.fromkeys(names, token)
    return found


def _forced(model: Any, tokenizer: Any) -> list[str]:
    """What follows the first token where nothing else is said; "" where the language stands."""
    forced = getattr(model.generation_config, "forced_decoder_ids", None)
    forced = forced or getattr(model.config, "forced_decoder_ids", None) or []
    if [place for place, _ in forced] != [*range(1, len(forced) + 1)]:
        raise UnsupportedError(
            f"'forced_decoder_ids' must be of the places 1, 2 and so on, not {forced}",
            _written.HINT,
        )
    return ["" if number is None else tokenizer.id_to_token(number) for _, number in forced]


def _defaults(generation: Any) -> dict[str, object]:
    """The options that Whisper's `generate` would take from the folder.

    Raises:
        UnsupportedError: one that isn't known here.
    """
    _written.refuse(generation, UNKNOWN)
    found = _written.defaults(generation, 0)  # it draws nothing unless it is asked to
    found = {name: each for name, each in found.items() if name not in _written.SAMPLING}
    languages = getattr(generation, "language", None)
    if not isinstance(languages, (str, type(None))):
        raise UnsupportedError("'language' in generation_config.json must be one", _written.HINT)
    said = {
        "language": languages,
        "task": getattr(generation, "task", None),
        "timestamps": getattr(generation, "return_timestamps", None),
    }
    return {**found, **{name: each for name, each in said.items() if each is not None}}


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched | None:
    """What transformers makes of recordings of the model's own rate: the first token's logits.

    What follows depends on the request's own options, which aren't known here; `wrap` has compared
    the model token by token.
    """
    said = handler.get("defaults")
    if isinstance(said, Mapping) and said.get("prompt"):
        return None  # which comes before the first token
    soundfile: Any = importlib.import_module("soundfile")
    model, _ = _untouched.read(folder, AUTO)
    sound = _extractor(folder)
    begin = torch.tensor([[model.generation_config.decoder_start_token_id]])
    outputs: list[Mapping[str, torch.Tensor] | None] = []
    for each in instances:
        samples, rate = soundfile.read(io.BytesIO(encoded(each, "a recording")), dtype="float32")
        if rate != sound.sampling_rate or samples.ndim > 1:
            outputs.append(None)
            continue
        is_long = len(samples) > sound.n_samples
        padded = {"truncation": False, "padding": "longest"} if is_long else {}
        frames = sound(samples, sampling_rate=rate, return_tensors="pt", **padded)["input_features"]
        with torch.inference_mode():
            found = model(
                input_features=frames[:, :, : sound.nb_max_frames], decoder_input_ids=begin
            )
        outputs.append({"logits": found.logits})
    return Untouched([None] * len(outputs), outputs)
