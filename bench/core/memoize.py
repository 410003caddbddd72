"""Methods that remember their answers: a plan asks the same of few things a hundred thousand times."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

Owner = TypeVar("Owner")
Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


class remembered(Generic[Owner, Asked, Answer]):  # noqa: N801  # it is used like functools.cached_property
    """A method that is computed once for the same arguments of the same object, and forgotten with the object.

    Arguments are hashable. An exception is not remembered.
    """

    def __init__(self, method: Callable[Concatenate[Owner, Asked], Answer]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __set_name__(self, owner: type[Owner], name: str) -> None:
        self.name = name

    def __get__(self, instance: Owner, owner: type[Owner]) -> Callable[Asked, Answer]:
        found: Any = functools.cache(functools.partial(self.method, instance))
        vars(instance)[self.name] = found  # from now on it is found there first
        return found  # type: ignore[no-any-return]
