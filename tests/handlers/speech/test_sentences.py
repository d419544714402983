"""Sound in parts: what a client reads, beside neighbours, and where a sentence can't be spoken."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from ts.context import Context
from ts.protocol import otf_message_handler as codec
from ts.service import Service

from handlers import wave_files
from handlers.runtimes import Tensors
from handlers.speech.sentences import split
from handlers.tasks.speech_synthesis import SpeechSynthesis
from marsmith.harness.wire import Request, Response, encode_predict, read_response

RATE, HOP = 1000, 10
TEXT = "Ab. Cde! f?\nGhi"
SETTINGS = {"task": "speech_synthesis", "sampling_rate": RATE, "max_seconds": 0.2}


def run(inputs: Tensors) -> Tensors:
    """Ten samples for each letter."""
    sound = (inputs["input_ids"] * inputs["attention_mask"] / 40).unsqueeze(2).expand(-1, -1, HOP)
    return {"wave": sound.flatten(1), "ends": inputs["attention_mask"].sum(1) * HOP}


class Worker:
    """A handler, spoken to as TorchServe speaks to its worker."""

    def __init__(self, folder: Path) -> None:
        self.handler = SpeechSynthesis()
        self.handler.configure(SETTINGS, folder)
        self.handler.use(run, batch_size=4)
        self.context = Context("speaker", str(folder), {}, 4, None, "1")
        self.frontend, self.context.cl_socket = socket.socketpair()

    def answers(self, *requests: Request) -> list[list[Response]]:
        """All parts of the answer to each request of a batch."""
        self.frontend.sendall(encode_predict(requests))
        _, message = codec.retrieve_msg(self.context.cl_socket)
        processors, rows, ids = Service.retrieve_data_for_inference(message)
        self.context.request_ids, self.context.request_processor = ids, processors
        bodies = self.handler.handle(rows, self.context)
        self.context.cl_socket.sendall(
            codec.create_predict_response(bodies, ids, "Prediction success", 200, self.context)
        )
        found: dict[str, list[Response]] = {request.request_id: [] for request in requests}
        while select.select([self.frontend], [], [], 0)[0]:
            for name, response in read_response(self.frontend, timeout_s=60).responses.items():
                assert not found[name] or found[name][-1].more_follows
                found[name].append(response)
        assert not any(parts[-1].more_follows for parts in found.values())
        return list(found.values())


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    letters = {letter: number for number, letter in enumerate("_abcdefghijklmnopqrstuvwxyz")}
    tokenizer = Tokenizer(models.WordLevel(letters, "_"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    made = Worker(tmp_path)
    yield made
    made.frontend.close()
    made.context.cl_socket.close()


def ask(text: str = TEXT, accept: str = "*/*") -> Request:
    body = json.dumps({"data": text, "parameters": {"stream": True}}).encode()
    return Request.raw(body, "application/json", {"Accept": accept})


def whole(worker: Worker, text: str) -> bytes:
    """A text's bare samples."""
    sample = worker.handler.decode(text, worker.handler.default_options)
    outputs = worker.handler.inference(worker.handler.collate([sample]))
    return wave_files.pcm(worker.handler.answer(outputs, [sample])[0].samples)


def joined(parts: Sequence[Response]) -> bytes:
    return b"".join(part.body for part in parts)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (TEXT, ["Ab.", "Cde!", "f?", "Ghi"]),
        ("Pi is 3.14. So?", ["Pi is 3.14.", "So?"]),
        ("一。二\uff1f三", ["一。", "二\uff1f", "三"]),
        ("", [""]),
        ("\n.\n", ["."]),
    ],
)
def test_a_text_is_cut_behind_its_sentences(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences


def test_each_sentence_is_a_part_beside_neighbours_that_are_whole(worker: Worker) -> None:
    plain = Request.raw(b"hello", "text/plain", {"Accept": "*/*"})
    first, other, second = worker.answers(ask(), plain, ask("One. Two"))
    assert [len(parts) for parts in (first, other, second)] == [4, 1, 2]
    sound = b"".join(whole(worker, each) for each in split(TEXT))
    assert joined(first) == wave_files.header(RATE) + sound
    assert {part.content_type for part in first} == {"audio/wav"}
    data = whole(worker, "hello")
    assert other[0].body == wave_files.header(RATE, len(data)) + data
    assert joined(second) == wave_files.header(RATE) + whole(worker, "One.") + whole(worker, "Two")


def test_a_single_sentence_is_no_stream(worker: Worker) -> None:
    data = whole(worker, "One.")
    for requests in ([ask("One.")], [ask("One."), ask()]):
        ((only,), *_) = worker.answers(*requests)
        # TorchServe would take this for the end of a stream, and answer nothing at all.
        assert "ts_stream_next" not in only.headers
        assert only.body == wave_files.header(RATE, len(data)) + data


def test_openai_hears_parts_too(worker: Worker) -> None:
    body = {"input": TEXT, "stream_format": "audio", "response_format": "pcm"}
    request = Request.raw(
        json.dumps(body).encode(), "application/json", {"x-openai-route": "v1/audio/speech"}
    )
    (parts,) = worker.answers(request)
    assert len(parts) == 4
    assert joined(parts) == b"".join(whole(worker, each) for each in split(TEXT))


def test_a_sentence_that_can_not_be_spoken_is_the_end(worker: Worker) -> None:
    long = "a" * 21 + "."
    ended, good = worker.answers(ask(f"Ab. {long} Cd."), ask("Ab. Cd. Ef."))
    assert joined(ended) == wave_files.header(RATE) + whole(worker, "Ab.")
    assert len(good) == 3
    (refused,) = worker.answers(ask(f"{long} Ab."))
    assert [part.status for part in refused] == [413]


def test_what_is_not_sound_has_no_parts(worker: Worker) -> None:
    body = json.dumps({"instances": ["a"], "parameters": {"stream": True}}).encode()
    several = Request.raw(body, "application/json", {"Accept": "*/*"})
    for request in (ask(accept="application/json"), ask(accept=""), several):
        (parts,) = worker.answers(request)
        assert parts[0].status == 422
        assert "Accept: audio/wav" in parts[0].json()["hint"]


def test_the_model_runs_for_all_streams_together(worker: Worker) -> None:
    rows: list[int] = []

    def counted(inputs: Tensors) -> Tensors:
        rows.append(len(inputs["input_ids"]))
        return run(inputs)

    worker.handler.use(counted, batch_size=4)
    worker.answers(ask("ab. cd. ef"), ask("gh. ij"))
    assert rows == [2, 2, 1]
