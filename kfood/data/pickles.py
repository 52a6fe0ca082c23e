"""Reading pickles from outside: plain data only.

A pickle is a program, and loading one from outside runs whatever it names. Here it may build dicts, lists, tuples,
sets, strings, bytes, numbers and None; a pickle that names anything else is refused before that is imported.
"""

import pathlib
import pickle
from typing import Any, NoReturn


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, and only plain data is admitted")


def load_plain(path: str | pathlib.Path, count: int) -> list[Any]:
    """Load plain data from a file of one or several pickles, one after the other.

    Args:
        path: the file.
        count: how many pickles to load.

    Returns:
        The loaded values, in order.

    Raises:
        ValueError: if the file holds anything but plain data, fewer pickles than ``count``, or no pickle.
        OSError: if it cannot be read.
    """
    values = []
    with open(path, "rb") as file:
        for index in range(count):
            try:
                values.append(_PlainUnpickler(file, encoding="utf-8").load())
            except OSError:
                raise
            except Exception as error:  # a damaged pickle can fail in any way
                raise ValueError(
                    f"{path}: expected {count} pickles of plain data (dicts, lists, strings, numbers); "
                    f"refused pickle {index + 1}: {error or type(error).__name__}."
                ) from error
    return values
