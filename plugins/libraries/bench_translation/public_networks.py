"""The public recognition network whose features an attacker compares, and what such a training takes. No torch."""

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


def packages_of(model: Model | None) -> tuple[str, ...]:
    """Return the package of a public network, which is then a part of the attack; none without a network."""
    return () if model is None else (type(model).__module__.partition(".")[0],)


def fingerprint_of(model: Model | None) -> str | None:
    """Return the digest of the weights of a public network; None without a network."""
    return None if model is None else model.fingerprint()


def training_seconds(steps: int, batch: int) -> float:
    """Return the seconds of a training with a public network: about a third of a second per step of 16 faces."""
    return 20.0 + 0.02 * steps * batch
