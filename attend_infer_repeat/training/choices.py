"""Settings that the preset ``auto`` chooses one by one, each with its reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from typing import Any

from ..config import TrainConfig, idle, replace


@dataclass
class Choices:
    """Settings, as they are chosen one by one, and the reason for each."""

    config: TrainConfig
    given: Collection[str]
    reasons: list[str] = field(default_factory=list)

    def decide(self, why: str, **settings: Any) -> None:
        """Set settings, such as ``window_size``, but those that were given or have no effect."""
        decided = []
        for name, value in settings.items():
            if name in self.given or name in {setting.name for setting in idle(self.config)}:
                continue
            self.config = replace(self.config, **{name: value})
            decided.append(f"{name} {_shown(value)}")
        if decided:
            self.reasons.append(f"{', '.join(decided)}: {why}")

    def copy(self) -> Choices:
        """Return the same choices, to go on from."""
        return replace_fields(self, reasons=list(self.reasons))


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
