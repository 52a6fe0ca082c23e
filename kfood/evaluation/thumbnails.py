"""Do generated thumbnails look like the dish? A classifier that has only ever seen real photos is asked.

The classifier is small and the same for every model: trained on the train split's photos, reduced to the thumbnails'
size and most of them blurred as thumbnails are, it names the class of the test split's real photos (its ceiling), and
of the thumbnails born from the embeddings of the test split's recipes and photos, which no network has seen.
"""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from kfood import schema
from kfood.data.pipeline import recipe_batches, steps_per_epoch
from kfood.evaluation.embedding import embed_dataset
from kfood.layers.pictures import reduced

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeDataset

BATCH = 64


def thumbnail_accuracy(
    model: Any, dataset: "RecipeDataset", *, split: str = "test", epochs: int = 40, seed: int = 0, verbose: int = 0
) -> dict[str, float]:
    """How often the classifier names the dish kind of a thumbnail.

    Args:
        model: with a decoder ``picture``.
        dataset: with classes; pairs of the background class are left out.
        split: whose thumbnails are judged.
        epochs: of training the classifier on the train split.
        seed: of its weights and its batches.
        verbose: as in ``keras.Model.fit``.

    Returns:
        ``"photos"``, and ``"recipe"``, ``"image"`` for each source of the decoder: share of items named right;
        ``"chance"``: the share of the most frequent class; ``"items"``: how many were judged.

    Raises:
        ValueError: a model that makes no pictures, or a split without a known class.
    """
    decoder = model.decoders.get("picture")
    if decoder is None:
        raise ValueError(f"Expected a model with a decoder 'picture', received {model.name} without one.")
    side = int(decoder.network.output_shape[1])
    classifier = _trained_classifier(dataset, model.spec, side, epochs, seed, verbose)
    batches = recipe_batches(dataset, split, model.spec, BATCH, training=False)
    embeddings = embed_dataset(model, batches, keep=[schema.CLASS_ID, schema.IMAGE])
    labels = embeddings.features[schema.CLASS_ID]
    known = labels != schema.BACKGROUND_CLASS
    if not known.any():
        raise ValueError(f"Expected split {split!r} to hold pairs of a known class, received none.")

    def share(pictures: NDArray[np.float32]) -> float:
        guesses = classifier.predict(pictures, batch_size=BATCH, verbose=0).argmax(axis=1)
        return float(np.mean(guesses[known] == labels[known]))

    photos = np.concatenate(
        [np.asarray(reduced(part, side)) for part in np.array_split(embeddings.features[schema.IMAGE], 8) if len(part)]
    )
    made = {
        source: share(decoder.network.predict(embeddings.arrays[source], batch_size=BATCH, verbose=0))
        for source in decoder.sources
    }
    chance = np.bincount(labels[known]).max() / known.sum()
    return {"photos": share(photos), **made, "chance": float(chance), "items": float(known.sum())}


def _trained_classifier(dataset, spec, side, epochs, seed, verbose):
    """Picture float ``[batch, side, side, 3]`` in [0, 255] → class logits."""
    keras.utils.set_random_seed(seed)
    picture = keras.Input((side, side, 3))
    x = keras.layers.RandomGaussianBlur(factor=0.9, kernel_size=11, sigma=(0.1, 4.0))(picture)
    x = keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest")(x)
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(x)
    for width in (32, 64, 128):
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    classifier = keras.Model(picture, keras.layers.Dense(spec.classes)(x), name="thumbnail_classifier")
    steps = steps_per_epoch(dataset, "train", BATCH)
    classifier.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps * epochs)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=schema.BACKGROUND_CLASS),
    )
    batches = recipe_batches(dataset, "train", spec, BATCH, training=True, seed=seed)
    classifier.fit(
        batches.map(lambda batch: (reduced(batch[schema.IMAGE], side), batch[schema.CLASS_ID])),
        steps_per_epoch=steps,
        epochs=epochs,
        verbose=verbose,
    )
    return classifier
