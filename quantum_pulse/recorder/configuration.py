"""What a recording does where its program does not say: a file in TOML, or a profile by name.

Whoever runs a service need not change its program: ``QUANTUM_PULSE_CONFIG`` names the file or the profile.
"""

from __future__ import annotations

import os

from quantum_pulse import variables
from quantum_pulse.errors import RecordingError
from quantum_pulse.recorder import sampling

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from typing import Any, Final, NamedTuple
else:
    from quantum_pulse.tuples import NamedTuple

#: Environment variable: a file, or the name of a profile.
CONFIG: Final = "QUANTUM_PULSE_CONFIG"


class Settings(NamedTuple):
    """Options of `start` that a file can set; None where it does not."""

    level: str | None = None
    on_full: str | None = None
    keep: str | None = None
    sampling: dict[str, int] | None = None

    def given(self) -> dict[str, Any]:
        """Those that are set."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def over(self, other: Settings) -> Settings:
        """These where they are set, and `other` where they are not."""
        return other._replace(**self.given())


#: On a developer's machine everything counts; in production, what runs for months must not grow.
PROFILES: Final = {
    "development": Settings(level="full", on_full="wait"),
    "staging": Settings(level="full", on_full="drop", keep="7d"),
    "production": Settings(level="production", on_full="drop", keep="30d"),
}
_KEYS: Final = ("profile", *Settings._fields)


def from_environment() -> Settings:
    """The settings that `CONFIG` names. Where there is something wrong with them, that is logged, and none count."""
    named = os.environ.get(CONFIG)
    if not named:
        return Settings()
    try:
        return named_settings(named)
    except RecordingError as error:
        variables.refuse(CONFIG, named, f"must name a valid file or a profile ({error})")
        return Settings()


def named_settings(name: str) -> Settings:
    """The settings of a profile, or of a file. Raises RecordingError."""
    if name in PROFILES:
        return PROFILES[name]
    import tomllib  # for those only who have a file

    try:
        with open(name, "rb") as file:
            return settings(tomllib.load(file), name)
    except OSError as error:
        if os.sep not in name and not name.endswith(".toml"):
            raise RecordingError(f"there is no profile {name!r}{_hint(name, PROFILES)}") from error
        raise RecordingError(f"cannot read {name}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecordingError(f"{name} is not TOML: {error}") from error


def settings(given: dict[str, Any], source: str) -> Settings:
    """What a file says. Raises RecordingError that names what is wrong, and the nearest that would be right."""
    for key in given:
        if key not in _KEYS:
            raise RecordingError(f"{source}: there is no option {key!r}{_hint(key, _KEYS)}")
    profile = given.get("profile")
    if profile is not None and (not isinstance(profile, str) or profile not in PROFILES):
        raise RecordingError(f"{source}: there is no profile {profile!r}{_hint(str(profile), PROFILES)}")
    from quantum_pulse.recorder import options

    own = Settings(**{key: value for key, value in given.items() if key != "profile"})
    try:
        if own.level is not None:
            options.check_level(own.level)
        if own.on_full is not None:
            options.check_on_full(own.on_full)
        if own.keep is not None:
            options.check_keep(own.keep)
        if own.sampling is not None:
            own = own._replace(sampling=sampling.checked(own.sampling))
    except RecordingError as error:
        raise RecordingError(f"{source}: {error}") from None
    return own if profile is None else own.over(PROFILES[profile])


def toml(chosen: Settings) -> str:
    """`chosen` as a file."""
    import json  # a string of JSON is one of TOML

    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}"
        for name, value in zip(Settings._fields, chosen, strict=True)
        if isinstance(value, str)
    ]
    rules = [f"{json.dumps(name, ensure_ascii=False)} = {every}" for name, every in (chosen.sampling or {}).items()]
    return "\n".join([*lines, "[sampling]", *rules, ""])


def _hint(text: str, names: Any) -> str:
    from quantum_pulse.arguments import nearest

    near = nearest(text, names)
    return f"; did you mean {near!r}?" if near else f"; there are {', '.join(map(repr, names))}"
