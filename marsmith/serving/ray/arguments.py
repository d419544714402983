"""What `marsmith.serving.ray:app` takes, from a command line or an applications file."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from marsmith.errors import ServerError


class ApplicationArguments(BaseModel):
    """The arguments of an application.

    Attributes:
        archives: paths of `.mar` files, the same on each node, perhaps with "@sha256:DIGEST"
            behind them; on a command line a list in JSON, or one path.
        trust: public keys, or folders of them, one of which must have signed each archive.
        keys: whether requests need a key.
        keys_file: where keys are kept, on nodes with an ingress; by default where
            `marsmith keys` keeps those of this user.
        ingresses: how many replicas speak to the clients of all models; more than one are each on
            a node of its own, and a node's proxy prefers its own. 0: the replicas of the only
            model speak themselves, as they do for one archive where this isn't said.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    archives: tuple[str, ...] = Field(min_length=1)
    trust: tuple[Path, ...] = ()
    keys: bool = True
    keys_file: Path | None = None
    ingresses: int | None = Field(None, ge=0)

    @field_validator("archives", "trust", mode="before")
    @classmethod
    def _list(cls, said: object) -> object:
        if not isinstance(said, str):
            return said
        return json.loads(said) if said.lstrip().startswith("[") else (said,)

    @classmethod
    def of(cls, said: object) -> ApplicationArguments:
        """Read arguments.

        Raises:
            ServerError: one is missing, unknown or wrong.
        """
        try:
            return cls.model_validate(said)
        except ValidationError as error:
            (first, *_) = error.errors()
            where = ".".join(str(each) for each in first["loc"]) or "the arguments"
            raise ServerError(
                f"{where}: {first['msg']}; there are: {', '.join(cls.model_fields)}",
                hint="serve run marsmith.serving.ray:app archives='[\"PATH\"]'",
            ) from None
