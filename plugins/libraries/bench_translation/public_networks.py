"""The public recognition network whose features an attacker compares. No torch."""

from __future__ import annotations

from bench import Model, did_you_mean, registered

NOTHING = "none"


def public_network(name: str) -> Model | None:
    """Return the installed model with this name, with its default parameters; None for ``none``.

    Raise ValueError if there is no such model, or if it needs parameters.
    """
    if name == NOTHING:
        return None
    models = registered("model")
    if name not in models:
        raise ValueError(f"network: no model {name!r} is installed; {did_you_mean(name, models)}, or 'none'")
    try:
        found: Model = models[name]()
    except TypeError as error:
        raise ValueError(f"network: the model {name!r} cannot be used without parameters: {error}") from None
    return found
