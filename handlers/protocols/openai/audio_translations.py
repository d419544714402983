"""`v1/audio/translations`: the words of a recording, in English."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from handlers.protocols.openai._recordings import RecordingFields, RecordingRoute


class AudioTranslations(RecordingRoute):
    """Translates a recording."""

    Fields = RecordingFields
    needs = ("text", "seconds", "language")
    task = "translate"
    passed_on = ("prompt", "temperature")

    def chosen(self, known: Collection[str]) -> Mapping[str, object]:
        """To translate."""
        return {"task": self.task}
