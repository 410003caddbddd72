"""A decorator for methods whose results are cached on their object.

The planner uses it: a plan of 100,000 cells calls the same methods with only a few different arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

Owner = TypeVar("Owner")
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class remembered(Generic[Owner, Arguments, Result]):  # noqa: N801  # a decorator, like functools.cached_property
    """Decorate a method so that each object computes it once per combination of arguments.

    The cache belongs to the object and is freed together with it. Arguments must be hashable. A call that raises is
    not cached.
    """

    def __init__(self, method: Callable[Concatenate[Owner, Arguments], Result]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __set_name__(self, owner: type[Owner], name: str) -> None:
        self.name = name

    def __get__(self, instance: Owner, owner: type[Owner]) -> Callable[Arguments, Result]:
        cached: Any = functools.cache(functools.partial(self.method, instance))
        vars(instance)[self.name] = cached  # Later look-ups find this attribute of the object before the descriptor.
        return cached  # type: ignore[no-any-return]
