"""The ``kfood`` command: finds the subcommand, and says in one sentence what went wrong."""

import importlib
import io
import os
import sys

from kfood.data.names import printable

COMMANDS = {
    "prepare": "raw files, or nothing → a prepared dataset",
    "train": "a prepared dataset → a trained run",
    "models": "every model, what it is trained on, its paper and sizes",
    "describe": "a model's sizes as JSON",
    "evaluate": "a run and a dataset → report.json and report.html",
    "compare": "evaluated runs → one table, and charts",
    "explain": "where a run's model looks in a photo or a recipe, or how its training went",
    "export": "a run → a bundle: SavedModel and ONNX",
    "embed": "a bundle and a dataset → embeddings to index, part by part, in one process or on many machines",
    "index": "a bundle and a dataset, or its embeddings → an index",
    "search": "a photo, a recipe or a text → what an index holds nearest to it",
    "serve": "an index → a web page to search with, and a service for programs",
    "site": "an index → a folder that searches in the browser, without a service",
    "demo": "all of the above on the synthetic kitchen",
    "bench": "speed against the machine's limits",
    "bench-losses": "labelled photos → every loss of the α-sampling paper, in one table",
    "bench-serve": "how many searches a second a service answers, and what it survives",
}


_WITHOUT_TENSORFLOW = ("bench-serve", "compare", "search", "serve", "site")


def main(arguments: list[str] | None = None) -> int:
    """Runs ``kfood COMMAND …``.

    Args:
        arguments: without the program's name; those of the process by default.

    Returns:
        Exit status: 0, or 2 where the input is at fault, 130 on Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the console has no bytes for is escaped, and stops no command
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: kfood COMMAND …   (kfood COMMAND --help tells more)\n")
        for name, meaning in COMMANDS.items():
            print(f"  {name:<12} {meaning}")
        return 0
    if arguments[0] == "--version":
        import kfood

        print(kfood.__version__)
        return 0
    if arguments[0] not in COMMANDS:
        print(f"kfood: expected a command among {', '.join(COMMANDS)}, received {arguments[0]!r}.", file=sys.stderr)
        return 2
    try:
        if arguments[0] not in _WITHOUT_TENSORFLOW and not {"-h", "--help"} & set(arguments):
            import_tensorflow_quietly()
        importlib.import_module(f"kfood.tools.{arguments[0].replace('-', '_')}").main(arguments[1:])
    except (ValueError, OSError, ArithmeticError, ImportError, NotImplementedError) as error:
        if os.environ.get("KFOOD_TRACEBACK"):
            raise
        message = "\n".join(map(printable, str(error).split("\n")))
        print(f"kfood {arguments[0]}: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"kfood {arguments[0]}: interrupted.", file=sys.stderr)
        return 130
    return 0


def import_tensorflow_quietly() -> None:
    """TensorFlow writes notes about the machine to file descriptor 2 before its log level holds; they are no errors."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
        if os.environ.get("KERAS_BACKEND") == "jax":  # whose GPUs they are; TensorFlow reads the data
            tf.config.set_visible_devices([], "GPU")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


if __name__ == "__main__":
    sys.exit(main())
