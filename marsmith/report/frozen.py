"""What the parts of a report are made of."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

if TYPE_CHECKING:
    from pydantic_core.core_schema import FloatSchema

NO_NUMBERS = [json.dumps(each) for each in (math.nan, math.inf, -math.inf)]


class FiguresSchema(GenerateJsonSchema):
    """A schema in which figures may be infinite; see `archive.writing.dump`."""

    def float_schema(self, schema: FloatSchema) -> JsonSchemaValue:
        """A number, or the name of what is none."""
        return {"anyOf": [super().float_schema(schema), {"enum": NO_NUMBERS}]}


class Frozen(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Frozen data; its fields are the keys of its JSON."""

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The schema of what is written of it."""
        return super().model_json_schema(*args, **{"schema_generator": FiguresSchema, **options})
