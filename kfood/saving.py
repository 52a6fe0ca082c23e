"""Loading saved models where only ``import kfood`` was said.

Keras finds the class of a saved model among those that were registered, which happens when a class's module is
imported, and that takes seconds. Here each class is registered by name as soon as Keras itself is imported, as a
stand-in that imports the module when a model of that class is loaded.
"""

import importlib
from typing import Any

PACKAGE = "kfood"

SERIALIZABLE = {
    "kfood.layers.attention": ("AttentionPooling", "JoinedPooling", "AttentionDecoder", "AttentionDecoderCell"),
    "kfood.layers.bag": ("WordBag",),
    "kfood.layers.hierarchical": ("Places",),
    "kfood.layers.image": ("PhotoNormalization",),
    "kfood.layers.local_scaling": ("LocalScaling",),
    "kfood.layers.memory": ("PairMemory", "LabelledMemory"),
    "kfood.layers.outputs": ("UnitLength",),
    "kfood.layers.pictures": ("Enlarge",),
    "kfood.layers.pooling": ("RootPooling",),
    "kfood.layers.recipe": ("TokenMean", "PartDropout"),
    "kfood.layers.recurrent": ("FinalStates", "HiddenStates"),
    "kfood.layers.shared": ("Affine",),
    "kfood.layers.stackgan": ("GatedLinearUnit", "NoNoise"),
    "kfood.layers.sub_words": ("SubWords",),
    "kfood.layers.trajectory": ("Ground", "Sketch"),
    "kfood.layers.vit": ("ClassAndPositions",),
    "kfood.layers.waves": ("LineMoments", "PictureMoments"),
    "kfood.losses.metric_learning": ("Proxies", "Boundaries", "MetricLoss"),
    "kfood.models.acme": ("ACME",),
    "kfood.models.alpha_gao": ("AlphaGAO",),
    "kfood.models.baselines": ("JNE", "AdaMine", "CCA", "Projection"),
    "kfood.models.ht": ("HT",),
    "kfood.models.mcen": ("MCEN",),
    "kfood.models.r2gan": ("R2GAN",),
    "kfood.models.trajcross": ("TrajCross",),
    "kfood.models.two_tower": ("TwoTower", "Temperature"),
    "kfood.models.trajectory_baselines": ("MoCo", "Queue", "ACMR", "CorrAE", "DBRLM", "TrajectoryCCA"),
}
"""Module → the classes that it registers with Keras; a test compares it with what the modules do."""


def register(keras_saving: Any) -> None:
    """Puts a stand-in where no module has registered its class yet.

    Args:
        keras_saving: the module ``keras.saving``, just imported.
    """
    registered = keras_saving.get_custom_objects()
    for module, names in SERIALIZABLE.items():
        for name in names:
            registered.setdefault(f"{PACKAGE}>{name}", _stand_in(module, name))


def _stand_in(module: str, name: str) -> type:
    def from_config(cls, config):
        return getattr(importlib.import_module(module), name).from_config(config)

    return type(name, (), {"from_config": classmethod(from_config), "__module__": module})
