"""What was found as a picture, beside what the model generates from the embeddings alone."""

import dataclasses
import functools
import io
import textwrap
from typing import Protocol

import numpy as np

from kfood.data.names import printable
from kfood.search.index import Index, Result
from kfood.search.items import Side

_LEGEND = (
    "Under each photo: the picture that the model generates from the embedding alone, so what it has understood. "
    "Embeddings that lie close together give pictures that look alike."
)


class Generator(Protocol):
    """What an explanation needs of a bundle; :class:`kfood.export.runtime.Bundle` has it."""

    model: str

    @property
    def decoders(self) -> tuple[str, ...]:
        """Names of the decoders."""

    def sources(self, decoder: str) -> tuple[str, ...]:
        """Encoders whose embeddings a decoder takes, the usual one first."""

    def decode(self, decoder: str, embeddings: np.ndarray) -> np.ndarray:
        """float32 [n, embedding_size] → float32 [n, height, width, 3] in [0, 255]."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Pictures generated from embeddings: what a model knows of a query and of what it found (R2GAN's Figure 4).

    Attributes:
        query: uint8 [height, width, 3]; None if the model does not generate from the query's kind.
        results: uint8 [found, height, width, 3].
        source: what the pictures of the results are generated from: ``"recipe"`` or ``"photo"``.
    """

    query: np.ndarray | None
    results: np.ndarray
    source: str


def explain(
    generator: Generator, index: Index, query: np.ndarray, encoder: str, results: list[Result], side: Side
) -> Explanation:
    """Pictures generated from the embeddings of a query and of what it found.

    Of the results those embeddings are decoded that the query was compared with, or the recipes' where the model
    generates from nothing else.

    Args:
        generator: the bundle that made the index.
        index: where the results come from.
        query: float32 [dim].
        encoder: which encoder made it: ``"image"`` or ``"recipe"``.
        results: from :meth:`~kfood.search.index.Index.search`.
        side: what the query was compared with.

    Raises:
        ValueError: the bundle has no decoder called ``picture``.
    """
    if "picture" not in generator.decoders:
        raise ValueError(
            f"expected a bundle that generates pictures (of R2GAN, or of ACME with recipe → image), received one of "
            f"{generator.model}, which has {_listed(generator.decoders)}."
        )
    sources = generator.sources("picture")
    compared = {"photos": "image", "recipes": "recipe", "trajectories": "trajectory"}[side]
    source = compared if compared in sources else sources[0]
    embeddings = index.embeddings("photos" if source == "image" else "recipes")[[result.row for result in results]]

    def pictures(of):
        return np.clip(np.rint(generator.decode("picture", np.asarray(of, np.float32))), 0, 255).astype(np.uint8)

    return Explanation(
        pictures(query[None])[0] if encoder in sources else None,
        pictures(embeddings),
        "photo" if source == "image" else source,
    )


def _listed(decoders):
    return f"decoders {', '.join(decoders)}" if decoders else "no decoder"


def _paste(canvas, cell, photo, x, y):
    """A photo, shrunk or enlarged, in the middle of a square."""
    from PIL import Image

    image = Image.fromarray(photo) if isinstance(photo, np.ndarray) else Image.open(io.BytesIO(photo))
    image = image.convert("RGB")
    scale = cell / max(image.size)
    image = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
    canvas.paste(image, (x + (cell - image.width) // 2, y + (cell - image.height) // 2))


def _write(draw, font, text, x, y, most, fill="black"):
    """A text of at most so many lines."""
    wrapped = textwrap.wrap(printable(text), 30)
    if len(wrapped) > most:
        wrapped = [*wrapped[: most - 1], wrapped[most - 1][:29] + "…"]
    draw.multiline_text((x, y), "\n".join(wrapped), fill=fill, font=font, spacing=3)


def draw_results(
    query: bytes | np.ndarray | str, results: list[Result], title: str = "", explanation: Explanation | None = None
) -> bytes:
    """One picture: the query beside what was found, and under each the picture generated from its embedding.

    Args:
        query: a photo, uint8 [height, width, 3] or encoded, or a text.
        results: from :meth:`~kfood.search.index.Index.search`.
        title: above all.
        explanation: of the same results, where generated pictures are wanted.

    Returns:
        PNG bytes.
    """
    from PIL import Image, ImageDraw

    from kfood.data.fonts import font as of_size

    cell, gap, caption, head = 200, 12, 66, 30 if title else 0
    made = 0 if explanation is None else cell + 30  # height of a generated picture with its caption
    columns = min(5, len(results))
    block = cell + caption + made + gap
    width = gap + (columns + 1) * (cell + gap)
    legend = [] if explanation is None else textwrap.wrap(_LEGEND, width // 7)
    note = 18 * len(legend) + gap if legend else 0
    canvas = Image.new("RGB", (width, head + gap + -(-len(results) // columns) * block + note), "white")
    draw = ImageDraw.Draw(canvas)
    font, bold = of_size(13), of_size(15)
    if title:
        draw.text((gap, gap), printable(title), fill="black", font=bold)
    top = head + gap

    show = functools.partial(_paste, canvas, cell)
    write = functools.partial(_write, draw, font)

    def show_made(picture, source, x, y):
        show(picture, x, y)
        write(f"generated from this {source}", x, y + cell + 6, 1, fill="#666666")

    if isinstance(query, str):
        write(query, gap, top, 12)
    else:
        show(query, gap, top)
    draw.rectangle((gap - 4, top - 4, gap + cell + 4, top + cell + 4), outline="#c0392b", width=2)
    draw.text((gap, top + cell + 6), "query", fill="#c0392b", font=bold)
    if explanation is not None and explanation.query is not None:
        show_made(explanation.query, "query", gap, top + cell + caption)
    elif explanation is not None:
        lacking = f"No picture of the query: this model generates pictures from {explanation.source}s only."
        write(lacking, gap, top + cell + caption, 4, fill="#666666")
    for position, result in enumerate(results):
        x = gap + (1 + position % columns) * (cell + gap)
        y = top + position // columns * block
        show(result.thumbnail, x, y)
        draw.text((x, y + cell + 6), f"{result.rank}   {result.distance:.3f}", fill="#2c5d8f", font=bold)
        write(result.title, x, y + cell + 26, 2)
        if explanation is not None:
            show_made(explanation.results[position], explanation.source, x, y + cell + caption)
    draw.multiline_text((gap, canvas.height - note), "\n".join(legend), fill="#666666", font=font, spacing=3)
    encoded = io.BytesIO()
    canvas.save(encoded, "PNG")
    return encoded.getvalue()
