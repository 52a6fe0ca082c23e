r"""H-T: Salvador, Gundogdu, Bazzani, Donoser, Revamping Cross-Modal Recipe Retrieval with Hierarchical Transformers and
Self-supervised Learning, CVPR 2021.

Photos and recipes are embedded apart and compared by cosine. A recipe's title, ingredients and instructions are encoded
by transformers of their own; beside the loss between photo and recipe, each component has to find the others of its
recipe, which takes no photo: recipes without one are learned from too.

===================  ==================================  =============================================================
paper                here                                what it is
===================  ==================================  =============================================================
e_I                  ``features["image"]``               photo embedding, float [n, 1024]
e_R                  ``features["recipe"]``              recipe embedding, float [n, 1024]
e_ttl, e_ing, e_ins  ``features["components"]``          dict of float [n + m, 512], of the n recipes with photos and
                                                         the m without
g_{b→a}              :attr:`HT.projections`              linear, 512 → 512, six of them
m                    ``config.margin``                   0.3
L_pair               ``pair`` in metrics.csv             photo ↔ recipe
L_rec                ``recipe`` in metrics.csv           component ↔ component
α, β                 1, ``config.recipe_weight``         weights of L_pair and L_rec
===================  ==================================  =============================================================

==================================================  ===============================================================
equation                                            function
==================================================  ===============================================================
L_bi, bi-directional triplets over the batch        :func:`bidirectional_triplets`
L_pair = L_bi(e_I, e_R)                             :meth:`HT.losses_of`
L_rec = ⅙ Σ_a Σ_{b≠a} L_bi(e_a, g_{b→a}(e_b))       :func:`recipe_loss`
L = α L_pair + β L_rec                              :attr:`HT.phases`
section 3.1: T and HT                               :mod:`kfood.layers.hierarchical`
==================================================  ===============================================================

Read beside the released code (amzn/image-to-recipe-transformers), from which come: tanh after both embeddings, the
first place that a line of padding attends to, post-norm layers with ReLU and dropout 0.1, StepLR every 30 epochs.

Where it departs:

- L_bi is a mean over the batch's negatives; the paper's also counts the pair itself, with 0: ours is n / (n - 1) of it.
- Photos of one recipe in a batch are no negatives of it, nor its components of each other; the paper counts them.
- Recipes without a photo stand in the same batch as those with one and serve each other as negatives of L_rec; the
  released code takes turns, a batch of pairs and a batch, twice as large, of recipes alone.
- A component without a word is zeros, and counts in no L_bi; the released code has begin and end marks in every line.
- L_rec with a spec that reads no title is over the components that there are.
- GELU nowhere, LayerNorm's ε as PyTorch's (1e-5); Keras' attention starts from Glorot's uniform as PyTorch's does, its
  word table from U(-0.05, 0.05) where PyTorch has N(0, 1); Adam's ε is 1e-7 (1e-8 in PyTorch).
- Words are known that occur as often as the dataset was prepared for, 3 times by default; in the released code 10 times
  (``kfood prepare recipe1m --min-word-count 10``).
- ``published`` starts from ResNet-50 of keras.applications (v1); the variant ``vit`` from keras-hub's ViT-B/16.
"""

import dataclasses
import itertools

import keras
from keras import ops

from kfood import distances, miners, schema
from kfood.layers.hierarchical import HierarchicalConfig, component_towers
from kfood.layers.image import ImageEncoderConfig, image_tower
from kfood.layers.inputs import symbolic_inputs
from kfood.layers.outputs import UnitLength
from kfood.models.base import RetrievalModel
from kfood.models.batches import recipes_of, run, select
from kfood.models.phases import OptimizerConfig, Phase


@dataclasses.dataclass(frozen=True)
class HTConfig:
    """Settings of H-T; the defaults are the paper's (section 4) and its code's.

    Attributes:
        image_encoder: ResNet-50.
        recipe_encoder: of the transformers.
        embedding_size: 1,024.
        margin: m of both losses.
        recipe_weight: β of L_rec; 0 leaves it out.
        optimizer: Adam, a tenth of the rate every 30 epochs.
    """

    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    recipe_encoder: HierarchicalConfig = HierarchicalConfig()
    embedding_size: int = 1024
    margin: float = 0.3
    recipe_weight: float = 1.0
    optimizer: OptimizerConfig = OptimizerConfig(1e-4, schedule="step", period=30)


def bidirectional_triplets(a, b, margin, negatives=None):
    """L_bi: ``mean_{i≠j} [c(a_i, b_j) - c(a_i, b_i) + m]+ + [c(b_i, a_j) - c(b_i, a_i) + m]+``, c the cosine.

    Args:
        a: float ``[n, d]``.
        b: float ``[n, d]``; row i belongs to row i of ``a``.
        margin: m.
        negatives: bool ``[n, n]``, symmetric: which (i, j) are in the mean; None = all but the diagonal.

    Returns:
        float scalar; 0 where there is no negative.
    """
    cosines = 1.0 - distances.cosine(a, b)
    if negatives is None:
        negatives = ops.logical_not(ops.eye(ops.shape(cosines)[0], dtype="bool"))
    counts = ops.cast(negatives, cosines.dtype)
    own = ops.diagonal(cosines)
    terms = ops.relu(cosines - own[:, None] + margin) + ops.relu(cosines - own[None, :] + margin)
    return ops.sum(terms * counts) / ops.maximum(ops.sum(counts), 1.0)


def recipe_loss(components, projections, present, margin, recipes=None):
    """L_rec: the mean over the ordered pairs (a, b) of components of ``L_bi(e_a, g_{b→a}(e_b))``.

    Args:
        components: dict name → float ``[n, d]``.
        projections: dict (b, a) → layer, ``g_{b→a}``.
        present: dict name → bool ``[n]``, whether a recipe has that component; others count neither as anchors nor as
            negatives.
        margin: m.
        recipes: int ``[n]``, equal ones are one recipe: no negatives of each other; None = all differ.

    Returns:
        float scalar.
    """
    terms = []
    recipes = ops.arange(ops.shape(next(iter(present.values())))[0]) if recipes is None else recipes
    others = ops.logical_not(miners.matches(recipes, recipes))
    for a, b in itertools.permutations(components, 2):
        both = ops.logical_and(present[a], present[b])
        negatives = ops.logical_and(others, ops.logical_and(both[:, None], both[None, :]))
        projected = ops.cast(projections[b, a](components[b]), "float32")
        terms.append(bidirectional_triplets(components[a], projected, margin, negatives))
    return sum(terms) / len(terms)


@keras.saving.register_keras_serializable("kfood")
class HT(RetrievalModel):
    """The hierarchical transformer with its self-supervised loss.

    Args:
        config: :class:`HTConfig`, or the same as a dict.
        spec: :class:`kfood.schema.RecipeSpec`, or the same as a dict; with words for instructions.
    """

    config_class = HTConfig

    def __init__(self, config=HTConfig(), spec=schema.RecipeSpec(), name="ht", **kwargs):  # noqa: B008 (frozen)
        super().__init__(config, spec, name=name, **kwargs)
        config = self.config
        self.distance = "cosine"
        self.components = component_towers(self.spec, config.recipe_encoder)
        width = config.recipe_encoder.width
        parts = symbolic_inputs({name: ((width,), "float32") for name in self.components.output})
        recipe = keras.layers.Dense(config.embedding_size, activation="tanh", name="recipe_embedding")
        self.merge = keras.Model(parts, _unit(recipe(ops.concatenate(list(parts.values()), axis=-1))), name="merge")
        image = image_tower(self.spec, config.image_encoder, config.embedding_size)
        self.encoders = {
            "image": keras.Model(image.input, _unit(image.output), name="image_encoder"),
            "recipe": keras.Model(self.components.input, self.merge(self.components.output), name="recipe_encoder"),
        }
        self.projections = {}
        for b, a in itertools.permutations(self.components.output, 2):
            layer = keras.layers.Dense(width, name=f"{b}_to_{a}")
            layer.build((None, width))
            self.projections[b, a] = layer
        self.projection_layers = list(self.projections.values())  # Keras tracks lists, not dicts with tuples as keys
        weights = {"pair": 1.0} | ({"recipe": config.recipe_weight} if config.recipe_weight else {})
        heads = self.projection_layers if config.recipe_weight else []
        self.phases = (Phase("encoders", weights, (*self.encoders.values(), *heads), config.optimizer),)
        self.build()

    def embed(self, batch, training):
        """``image``, ``recipe``; of all, those without a photo last, ``components``, ``present``, ``recipes``."""
        return self.from_items(self.embed_items(batch, training), batch, training)

    def embed_items(self, batch, training):
        """``image``, ``recipe``, ``components``, ``present``; of those without a photo the last two, ``alone_…``."""
        paired = select(batch, self.components)
        components = self.components(paired, training=training)
        features = {
            "image": run(self.encoders["image"], batch, training),
            "recipe": self.merge(components, training=training),
        }
        features |= {"components": components, "present": _present(paired)}
        alone = {name: batch[schema.WITHOUT_PHOTO + name] for name in paired if schema.WITHOUT_PHOTO + name in batch}
        if alone:
            features["alone_components"] = self.components(alone, training=training)
            features["alone_present"] = _present(alone)
        return features

    def from_items(self, features, batch, training):
        """Those without a photo go behind the others; each is a recipe of its own."""
        recipes = recipes_of(batch, features["recipe"])
        if "alone_present" in features:
            features = {**features}
            for kind in ("components", "present"):
                alone = features.pop(f"alone_{kind}")
                features[kind] = {name: ops.concatenate([features[kind][name], alone[name]]) for name in alone}
            strangers = -1 - ops.arange(ops.shape(next(iter(alone.values())))[0], dtype=recipes.dtype)
            recipes = ops.concatenate([recipes, strangers])
        return {**features, "recipes": recipes}

    def losses_of(self, phase, features, batch, training):
        """``pair`` and, unless its weight is 0, ``recipe``."""
        margin = self.config.margin
        recipes = recipes_of(batch, features["image"])
        others = ops.logical_not(miners.matches(recipes, recipes))
        losses = {"pair": bidirectional_triplets(features["image"], features["recipe"], margin, others)}
        if self.config.recipe_weight:
            losses["recipe"] = recipe_loss(
                features["components"], self.projections, features["present"], margin, features["recipes"]
            )
        return losses


def _present(tokens):
    """Which recipes have a component at all: name → bool ``[n]``."""
    return {
        name: ops.any(ops.reshape(ids, (ops.shape(ids)[0], -1)) != schema.PADDING_ID, axis=1)
        for name, ids in tokens.items()
    }


def _unit(embedding):
    return UnitLength(dtype="float32", name="embedding")(embedding)
