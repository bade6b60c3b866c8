"""multiscale-bot: an event-driven trading bot that sees every time scale at once."""

import os as _os
import sys as _sys

__version__ = "0.1.0"

# Before anything is compiled: see bot/runtime/compiled_cache.py.
_LOCATORS = ",".join(f"bot.runtime.compiled_cache.{name}" for name in ("WhereTold", "BesideTheSource", "OfTheUser"))
_os.environ["NUMBA_CACHE_LOCATOR_CLASSES"] = _LOCATORS
if "numba.core.config" in _sys.modules:  # it has read the environment already
    _sys.modules["numba.core.config"].CACHE_LOCATOR_CLASSES = _LOCATORS  # type: ignore[attr-defined]
