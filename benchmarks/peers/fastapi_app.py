"""FastAPI under uvicorn: a process per core, and no batches."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from benchmarks.peers.plain import plain

app = FastAPI()
model = plain()


@app.post("/predict")  # type: ignore[untyped-decorator]  # not installed here
async def predict(request: Request) -> Any:
    """Answer one request; nothing else of this process runs meanwhile."""
    item = model.decode(await request.body())
    if os.environ["PEER_ANSWERS"] == "streamed":
        return StreamingResponse(lines(item), media_type="application/jsonlines")
    return model.answer([item])[0]


def lines(item: Any) -> Iterator[str]:
    """Pieces of a text, each a line of JSON; run in a thread of the server's."""
    for (piece,) in model.stream([item]):
        yield json.dumps(piece) + "\n"
