"""Enough of Dockerfile's grammar to ask one what it does, without an engine."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]


class Dockerfile:
    def __init__(self, path: Path) -> None:
        self.arguments: dict[str, str] = {}
        """Those before the first stage."""
        self.stages: list[Stage] = []
        text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            if line.strip():
                self._read(*line.strip().split(maxsplit=1))

    def _read(self, instruction: str, text: str) -> None:
        if instruction == "FROM":
            base, _, name = text.partition(" AS ")
            base = re.sub(r"\$\{(\w+)\}", lambda found: self.arguments[found[1]], base)
            self.stages.append(Stage(name, base))
        elif self.stages:
            self.stages[-1].steps.append((instruction, text))
        else:
            name, _, value = text.partition("=")
            self.arguments[name] = value

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def last(self, target: str, instruction: str) -> str:
        """The *instruction* that counts for *target*: its own last one, or the one of what it is built on."""
        stage = self.stage(target)
        found = stage.all(instruction)
        return found[-1] if found else self.last(stage.base, instruction)

    def command(self, target: str, instruction: str = "CMD") -> list[str]:
        """Of *target*, in exec form; the check's own with HEALTHCHECK."""
        text = self.last(target, instruction)
        words: list[str] = json.loads(text[text.index("[") :])
        return words

    def variables(self, target: str) -> dict[str, str]:
        stage = self.stage(target)
        parents = {known.name for known in self.stages}
        inherited = self.variables(stage.base) if stage.base in parents else {}
        own = (one.split("=", 1) for text in stage.all("ENV") for one in text.split())
        return {**inherited, **{name: value for name, value in own}}

    def copied(self, target: str) -> list[tuple[list[str], str]]:
        """(sources, destination) of every COPY from the checkout, in order."""
        words = (text.split() for text in self.stage(target).all("COPY"))
        return [(one[:-1], one[-1]) for one in words if not one[0].startswith("--from")]
