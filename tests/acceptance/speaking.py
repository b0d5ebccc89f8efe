"""A handler of an owner's own, for the two classes that no answer of a language model brings about."""

import os
from typing import Any

import aiohttp

import worker
from worker import errors
from worker.handlers import handler

_LATER_SECONDS = 600


@handler("speech")
async def speech(ctx: worker.JobContext, payload: str) -> None:
    async def speak(language: str) -> Any:
        asked = {"text": payload, "language": language}
        async with aiohttp.ClientSession() as http, http.post(os.environ["SPEECH_URL"], json=asked) as answer:
            said = (await answer.json())["said"]
        if said == "unsupported_language":
            raise errors.ItemError(said, "Nobody speaks this.")
        if said == "internal":
            raise worker.RetryLater(_LATER_SECONDS, "The speaker is away.")
        return said

    await ctx.each(speak)
