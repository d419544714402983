"""OpenAI's own client, and curl, against a real server: through the front, and bare TorchServe."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import yaml

from handlers import wave_files
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.tune.variants import variant
from tests.support.audio import encode, wave
from tests.support.changed_archives import CONFIG, contents, summed
from tests.support.servers import authorization

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
EMBEDDER, WRITER, LISTENER = "new_text_embedding", "chatty", "new_speech_recognition"
RANKER, SPEAKER = "new_reranking", "new_speech_synthesis"
ASKED: Any = {"query": "where is Ada", "documents": ["in Paris", "who", "Ada lives in Paris"]}
TIMEOUT_S = 120
RECORDING = encode(wave(16_000), 16_000)


@pytest.fixture(scope="module")
def writer(
    make_new_archive: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder, given = tmp_path_factory.mktemp("chatty"), make_new_archive("text_generation")
    handler = yaml.safe_load(contents(given)[CONFIG])["handler"]
    changed = {"handler": {**handler, "chat_template": "chat_template.jinja"}}
    made = variant(given, WRITER, changed, folder)
    return summed({**contents(made), "chat_template.jinja": TEMPLATE.encode()}, made)


@pytest.fixture(scope="module")
def info(
    writer: Path, make_new_archive: Callable[[str], Path], server_state: Path
) -> Iterator[ServerInfo]:
    tasks = ("text_embedding", "speech_recognition", "reranking", "speech_synthesis")
    archives = [writer, *map(make_new_archive, tasks)]
    found = server.serve(archives, port=0)
    try:
        yield found
    finally:
        server.stop(found)


@pytest.fixture(scope="module")
def client(info: ServerInfo) -> Iterator[openai.OpenAI]:
    key = authorization(info).removeprefix("Bearer ")
    address = f"{info.inference_address}/v1"
    with openai.OpenAI(base_url=address, api_key=key, timeout=TIMEOUT_S, max_retries=0) as found:
        yield found


def ask(info: ServerInfo, path: str, body: object) -> Any:
    headers = {"Authorization": authorization(info)}
    address = info.inference_address + path
    return httpx.post(address, json=body, headers=headers, timeout=TIMEOUT_S).json()


class TestEmbeddings:
    def test_they_are_those_of_the_models_own_path(
        self, info: ServerInfo, client: openai.OpenAI
    ) -> None:
        texts = ["a cat", "a dog, and another"]
        usual = ask(info, f"/predictions/{EMBEDDER}", {"instances": texts})["predictions"]
        for form in ("float", "base64", openai.omit):
            said = client.embeddings.create(model=EMBEDDER, input=texts, encoding_format=form)
            assert (said.model, said.usage.prompt_tokens) == (
                EMBEDDER,
                sum(each["tokens"] for each in usual),
            )
            for place, (one, other) in enumerate(zip(said.data, usual, strict=True)):
                assert one.index == place
                numbers: Any = one.embedding
                if form == "base64":  # asked for by name, it is handed over as it came
                    numbers = np.frombuffer(base64.b64decode(numbers), "<f4").tolist()
                assert numbers == pytest.approx(other["embedding"], abs=1e-6)
        alone = client.embeddings.create(model=EMBEDDER, input=texts[1])
        assert alone.data[0].embedding == pytest.approx(usual[1]["embedding"], abs=1e-5)

    def test_what_is_not_supported_is_refused_by_name(self, client: openai.OpenAI) -> None:
        size = len(client.embeddings.create(model=EMBEDDER, input="a").data[0].embedding)
        client.embeddings.create(model=EMBEDDER, input="a", dimensions=size, user="me")
        for param, asked in (
            ("dimensions", {"input": "a", "dimensions": size - 1}),
            ("input", {"input": [[1, 2]]}),
            ("input", {"input": []}),
            ("truncation", {"input": "a", "extra_body": {"truncation": True}}),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                client.embeddings.create(model=EMBEDDER, **asked)
            assert caught.value.param == param
            assert caught.value.type == "invalid_request_error"
        with pytest.raises(openai.BadRequestError, match="tokens"):
            client.embeddings.create(model=EMBEDDER, input="word " * 3000)


class TestWriting:
    def test_a_completion_whole_and_in_pieces(
        self, info: ServerInfo, client: openai.OpenAI
    ) -> None:
        body = {"data": "import this", "parameters": {"max_new_tokens": 16}}
        usual = ask(info, f"/predictions/{WRITER}", body)
        said = client.completions.create(model=WRITER, prompt="import this", temperature=0)
        (choice,) = said.choices
        assert (choice.text, choice.finish_reason) == (usual["text"], usual["finish_reason"])
        assert said.usage is not None
        counts = said.usage.prompt_tokens, said.usage.completion_tokens, said.usage.total_tokens
        prompt, tokens = usual["prompt_tokens"], usual["tokens"]
        assert counts == (prompt, tokens, prompt + tokens)
        two = client.completions.create(model=WRITER, prompt=["import this", "x"], temperature=0)
        assert [each.index for each in two.choices] == [0, 1]
        assert two.choices[0].text == choice.text
        pieces = list(
            client.completions.create(
                model=WRITER, prompt="import this", temperature=0, max_tokens=400, stream=True,
                stream_options={"include_usage": True},
            )
        )  # fmt: skip
        long = client.completions.create(
            model=WRITER, prompt="import this", temperature=0, max_tokens=400
        )
        *texts, last = pieces
        assert len(texts) > 3
        assert "".join(each.choices[0].text for each in texts) == long.choices[0].text
        assert texts[-1].choices[0].finish_reason == long.choices[0].finish_reason
        assert (last.choices, last.usage) == ([], long.usage)
        assert len({each.id for each in pieces}) == 1

    def test_a_chat_is_its_template(self, info: ServerInfo, client: openai.OpenAI) -> None:
        asked = "system: Be brief.\nuser: Hello\nassistant:"
        body = {"data": asked, "parameters": {"max_new_tokens": 12}}
        usual = ask(info, f"/predictions/{WRITER}", body)
        said = client.chat.completions.create(
            model=WRITER, messages=MESSAGES, temperature=0, max_completion_tokens=12
        )
        assert said.choices[0].message.content == usual["text"]
        assert said.choices[0].message.role == "assistant"
        assert said.usage is not None
        assert said.usage.prompt_tokens == usual["prompt_tokens"]
        answered = [*MESSAGES, said.choices[0].message, MESSAGES[1]]  # as a client goes on
        client.chat.completions.create(model=WRITER, messages=answered, max_tokens=2)

    def test_a_chat_is_streamed_to_an_asynchronous_client(self, client: openai.OpenAI) -> None:
        async def written() -> list[Any]:
            async with openai.AsyncOpenAI(
                base_url=client.base_url, api_key=client.api_key, timeout=TIMEOUT_S
            ) as asked:
                stream = await asked.chat.completions.create(
                    model=WRITER, messages=MESSAGES, temperature=0, max_tokens=300, stream=True
                )
                return [piece async for piece in stream]

        whole = client.chat.completions.create(
            model=WRITER, messages=MESSAGES, temperature=0, max_tokens=300
        )
        pieces = asyncio.run(written())
        assert pieces[0].choices[0].delta.role == "assistant"
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        assert text == whole.choices[0].message.content
        assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason

    def test_what_is_not_supported_is_refused_by_name(self, client: openai.OpenAI) -> None:
        for param, asked in (
            ("n", {"n": 2}),
            ("frequency_penalty", {"frequency_penalty": 0.5}),
            ("logit_bias", {"logit_bias": {"1": 2}}),
            ("temperature", {"temperature": 3}),
            ("stop", {"stop": list("abcde")}),
            ("tools", {"tools": [{"type": "function", "function": {"name": "f"}}]}),
            ("response_format", {"response_format": {"type": "json_object"}}),
            ("stream_options", {"stream_options": {"include_usage": True}}),
            ("messages[0].role", {"messages": [{"role": "tool", "content": "x"}]}),
            ("messages", {"messages": []}),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                client.chat.completions.create(**{"model": WRITER, "messages": MESSAGES, **asked})
            assert caught.value.param == param


class TestTranscriptions:
    def test_they_are_those_of_the_models_own_path(
        self, info: ServerInfo, client: openai.OpenAI
    ) -> None:
        headers = {"Authorization": authorization(info), "Content-Type": "audio/wav"}
        address = f"{info.inference_address}/predictions/{LISTENER}"
        usual = httpx.post(address, content=RECORDING, headers=headers, timeout=TIMEOUT_S).json()
        file = ("a.wav", RECORDING, "audio/wav")
        said = client.audio.transcriptions.create(model=LISTENER, file=file)
        assert said.text == usual["text"]
        text = client.audio.transcriptions.create(model=LISTENER, file=file, response_format="text")
        assert text == f"{usual['text']}\n"
        with pytest.raises(openai.BadRequestError) as caught:
            client.audio.transcriptions.create(model=LISTENER, file=file, language="en")
        assert caught.value.param == "language"


class TestSpeech:
    def test_it_is_that_of_the_models_own_path(
        self, info: ServerInfo, client: openai.OpenAI
    ) -> None:
        headers = {"Authorization": authorization(info), "Content-Type": "text/plain"}
        address = f"{info.inference_address}/predictions/{SPEAKER}"
        usual = httpx.post(address, content=b"Hello", headers=headers, timeout=TIMEOUT_S)
        assert usual.headers["content-type"] == "audio/wav"
        speak = client.audio.speech.create
        asked: Any = {"model": SPEAKER, "input": "Hello", "voice": "default"}
        assert speak(**asked).content == usual.content
        assert speak(**asked, response_format="wav", speed=1).content == usual.content
        assert speak(**asked, response_format="pcm").content == usual.content[44:]
        parts = {**asked, "input": "One. Two.", "stream_format": "audio"}
        with client.audio.speech.with_streaming_response.create(**parts) as said:
            streamed = b"".join(said.iter_bytes())
        sentences = [speak(**{**asked, "input": each}).content[44:] for each in ("One.", "Two.")]
        assert streamed == wave_files.header(16_000) + b"".join(sentences)
        for param, more in (
            ("speed", {"speed": 2}),
            ("response_format", {"response_format": "mp3"}),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                speak(**asked, **more)
            assert caught.value.param == param
        with pytest.raises(openai.BadRequestError, match=r"'alloy' is not allowed in 'voice'"):
            speak(**{**asked, "voice": "alloy"})


def relevance(said: Any) -> list[tuple[int, float]]:
    return [(each["index"], each["relevance_score"]) for each in said["results"]]


class TestRerank:
    def test_it_is_that_of_the_models_own_path(self, info: ServerInfo) -> None:
        usual = ask(info, f"/predictions/{RANKER}", ASKED)
        wanted: Any = [(each["index"], pytest.approx(each["score"])) for each in usual["results"]]
        assert sorted(index for index, _ in wanted) == [0, 1, 2]
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            said = ask(info, path, {"model": RANKER, **ASKED})
            assert relevance(said) == wanted
            assert set(said) == {"id", "model", "results", "usage"}
            assert said["usage"]["total_tokens"] == usual["tokens"]
        for path in ("1.0/rerank", "1.0/v2/rerank", "v1/rerank", "v2/rerank"):
            said = ask(info, f"/predictions/{RANKER}/{path}", {**ASKED, "top_n": 1})
            assert relevance(said) == wanted[:1]

    def test_documents_may_be_objects_and_come_back(self, info: ServerInfo) -> None:
        texts = ASKED["documents"]
        body = {**ASKED, "model": RANKER, "documents": [{"text": each} for each in texts]}
        said = ask(info, "/v1/rerank", {**body, "return_documents": True})
        assert [each["document"] for each in said["results"]] == [
            {"text": texts[each["index"]]} for each in said["results"]
        ]
        assert relevance(said) == relevance(ask(info, "/v1/rerank", body))

    def test_what_can_not_be_ranked_is_refused_by_name(self, info: ServerInfo) -> None:
        for param, asked in (
            ("query", {"documents": ["a"]}),
            ("top_n", {**ASKED, "top_n": 0}),
            ("documents", {**ASKED, "documents": [7]}),
            ("rank_fields", {**ASKED, "rank_fields": ["title"]}),
            (None, {**ASKED, "documents": []}),
            (None, {**ASKED, "documents": [{"title": "a"}]}),
        ):
            error = ask(info, "/v1/rerank", {"model": RANKER, **asked})["error"]
            assert (error["param"], error["type"]) == (param, "invalid_request_error")
        error = ask(info, "/v1/rerank", {"model": EMBEDDER, **ASKED})["error"]
        assert "v1/embeddings" in error["message"]
        assert ask(info, "/rerank", ASKED)["error"]["code"] == "unnamed"


class TestRules:
    def test_models_are_listed_and_found(self, client: openai.OpenAI) -> None:
        served = {EMBEDDER, WRITER, LISTENER, RANKER, SPEAKER}
        assert {each.id for each in client.models.list()} == served
        assert client.models.retrieve(WRITER).id == WRITER

    def test_who_has_no_key_and_which_model_is_not_there(
        self, info: ServerInfo, client: openai.OpenAI
    ) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.embeddings.create(model='no "such', input="a")
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError, match="v1/embeddings"):
            client.completions.create(model=EMBEDDER, prompt="a")
        stranger = client.with_options(api_key="wrong")
        with pytest.raises(openai.AuthenticationError) as unknown:
            stranger.embeddings.create(model=EMBEDDER, input="a")
        assert unknown.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()

    def test_a_body_whose_model_is_not_in_sight_takes_the_models_own_path(
        self, info: ServerInfo, client: openai.OpenAI
    ) -> None:
        long = ["a " * 100] * 1000
        said = ask(info, "/v1/embeddings", {"input": long, "model": EMBEDDER})
        assert said["error"]["code"] == "unnamed"
        assert "base URL" in said["error"]["message"]
        said = ask(info, "/v1/embeddings", {"model": EMBEDDER, "input": long})
        assert len(said["data"]) == len(long)
        for path in (EMBEDDER, f"{EMBEDDER}/1.0"):
            address = f"{info.inference_address}/predictions/{path}/v1"
            own = client.with_options(base_url=address)
            assert len(own.embeddings.create(model=EMBEDDER, input=["a"] * 3).data) == 3
            with pytest.raises(openai.NotFoundError, match="is not here"):
                own.embeddings.create(model="another", input="a")

    def test_curl(self, info: ServerInfo, tmp_path: Path) -> None:
        def curl(path: str, *options: str) -> bytes:
            header = f"Authorization: {authorization(info)}"
            command = ["curl", "-sS", "-m", str(TIMEOUT_S), "-N", "-H", header, *options]
            address = info.inference_address + path
            return subprocess.run([*command, address], capture_output=True, check=True).stdout

        body = {"model": WRITER, "messages": MESSAGES, "max_tokens": 8, "stream": True}
        json_of = ("-H", "Content-Type: application/json", "-d")
        said = curl("/v1/chat/completions", *json_of, json.dumps(body)).decode()
        events = said.split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        assert all(event.startswith("data: ") for event in events[:-1])
        file = tmp_path / "a.wav"
        file.write_bytes(RECORDING)
        form = ("-F", f"model={LISTENER}", "-F", f"file=@{file}", "-F", "response_format=json")
        assert set(json.loads(curl("/v1/audio/transcriptions", *form))) == {"text", "usage"}
        # Behind a recording it may be out of sight.
        behind = ("-F", f"file=@{file}", "-F", f"model={LISTENER}")
        said = json.loads(curl("/v1/audio/transcriptions", *behind))
        assert "send model first" in said["error"]["message"]
        ranked = json.loads(curl("/rerank", *json_of, json.dumps({"model": RANKER, **ASKED})))
        assert {index for index, _ in relevance(ranked)} == {0, 1, 2}
        wrong = json.loads(curl("/v1/embeddings", "-d", '{"model": "x"}'))
        assert set(wrong) == {"error"}


@pytest.mark.slow
def test_bare_torchserve_serves_them(
    writer: Path, make_new_archive: Callable[[str], Path], server_state: Path
) -> None:
    archives = [writer, *map(make_new_archive, ("speech_recognition", "reranking"))]
    info = server.serve(archives, port=0, front=False)
    try:
        key = authorization(info).removeprefix("Bearer ")

        def client(model: str) -> openai.OpenAI:
            address = f"{info.inference_address}/predictions/{model}/1.0/v1"
            return openai.OpenAI(base_url=address, api_key=key, timeout=TIMEOUT_S, max_retries=0)

        with client(WRITER) as asked:
            pieces = list(
                asked.chat.completions.create(
                    model=WRITER, messages=MESSAGES, temperature=0, max_tokens=300, stream=True
                )
            )
            assert len(pieces) > 4
            assert pieces[-1].choices[0].finish_reason == "length"
            with pytest.raises(openai.NotFoundError, match="v1/chat/completions"):
                asked.moderations.create(input="a", model=WRITER)
        with client(LISTENER) as asked:
            file = ("a.wav", RECORDING, "audio/wav")
            assert asked.audio.transcriptions.create(model=LISTENER, file=file).text is not None
        for path in ("rerank", "v1/rerank", "v2/rerank"):
            said = ask(info, f"/predictions/{RANKER}/1.0/{path}", {"model": RANKER, **ASKED})
            assert {index for index, _ in relevance(said)} == {0, 1, 2}
    finally:
        server.stop(info)
