"""How a model is trained, whichever it is."""

import dataclasses
from typing import Literal

from kfood.data.drawing import Movement
from kfood.data.images import Augmentation
from kfood.precision import POLICIES, Precision


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained, whichever it is; learning rates are of each phase's optimizer.

    Attributes:
        epochs: passes over the training split.
        batch_size: pairs, or photos, a step.
        chunk: items of a batch that pass the encoders at once (:mod:`kfood.models.chunks`): memory for a batch of
            ``batch_size`` as for one of ``chunk``, for one more forward pass. The batch has to be a multiple of it, or
            no larger. 0: all.
        seed: of initial weights, order, augmentation, dropout and noise.
        freeze_image_epochs: epochs at the start during which the image backbone does not learn; -1: all.
        freeze_statistics: the backbone's batch normalisation stays as it is when the rest of it learns, and takes its
            own statistics as in the epochs in which all is frozen: with those of a batch the layers behind, which have
            learnt from the others, would receive something else.
        views: 0: photos pass the backbone in every epoch. Else, while it does not learn, it sees each training photo
            once in this many views, the evaluation crop and varied ones, and epochs read what it made of them, which is
            kept in the dataset's folder (:mod:`kfood.data.features`).
        feature_gigabytes: that this may take on disk.
        without_photos: recipes without a photo beside each training batch, as a share of its pairs, where the dataset
            has any; for models that learn from texts alone (:mod:`kfood.models.ht`).
        start: ``"random"``, or ``"canonical"``: encoders that are linear in features of a frozen backbone and in a bag
            of words start as closed-form CCA of the training split has them, one of labelled photos as linear
            discriminant analysis has it (:mod:`kfood.models.start`).
        start_ridge: of that, in units of the mean variance of a side's features.
        local_scaling: neighbours, 10 in its paper, by which embeddings are corrected for hubs in search, once training
            has ended (:mod:`kfood.layers.local_scaling`); of models with two encoders. 0: none.
        bank: training pairs among which these are looked for, at most.
        monitor: validation score by which the best epoch is chosen: ``"median_rank"`` or ``"recall_at_1"``, averaged
            over both directions; of labelled photos ``"recall_at_1"``.
        precision: that networks compute in while they train: ``"float32"``, ``"bfloat16"`` or ``"float16"``; variables,
            losses and distances are float32 (:mod:`kfood.precision`).
        jit_compile: compile the step with XLA; with Keras' JAX backend it always is.
        deterministic: ask TensorFlow for deterministic operations: the same run gives the same weights. JAX's on a GPU
            are so with ``XLA_FLAGS=--xla_gpu_deterministic_ops=true``.
        devices: of this process, or of each of several, that share every batch (:mod:`kfood.training.devices`); 0: all.
        augmentation: how training photos are varied, or training trajectories moved.
    """

    epochs: int = 50
    batch_size: int = 64
    chunk: int = 0
    seed: int = 0
    freeze_image_epochs: int = 0
    freeze_statistics: bool = False
    views: int = 0
    feature_gigabytes: float = 20.0
    without_photos: float = 0.0
    start: Literal["random", "canonical"] = "random"
    start_ridge: float = 4.0
    local_scaling: int = 0
    bank: int = 4096
    monitor: Literal["median_rank", "recall_at_1"] = "median_rank"
    precision: Precision = "float32"
    jit_compile: bool = False
    deterministic: bool = True
    devices: int = 1
    augmentation: Augmentation | Movement = Augmentation()

    def __post_init__(self):
        for name, valid in {
            "start": ("random", "canonical"),
            "monitor": ("median_rank", "recall_at_1"),
            "precision": tuple(POLICIES),
        }.items():
            if getattr(self, name) not in valid:
                raise ValueError(f"training.{name}: expected one of {list(valid)}, received {getattr(self, name)!r}.")
        if not self.without_photos >= 0:
            raise ValueError(f"training.without_photos: expected at least 0, received {self.without_photos}.")
        if not self.start_ridge > 0:
            raise ValueError(f"training.start_ridge: expected a positive number, received {self.start_ridge}.")
        least = {
            "epochs": 1,
            "batch_size": 2,
            "chunk": 0,
            "freeze_image_epochs": -1,
            "views": 0,
            "bank": 1,
            "devices": 0,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"training.{name}: expected at least {value}, received {getattr(self, name)}.")
        if not 0 <= self.local_scaling <= self.bank:
            raise ValueError(
                f"training.local_scaling: expected from 0 to {self.bank}, training.bank, received {self.local_scaling}."
            )
        chunks = self.batch_size / self.chunk if self.chunk else 1.0
        if chunks > 1 and chunks % 1:
            raise ValueError(
                f"training.batch_size: expected a multiple of training.chunk = {self.chunk}, received "
                f"{self.batch_size}."
            )
        if chunks > 1 and round(self.without_photos * self.batch_size) % chunks:
            raise ValueError(
                f"training.without_photos: expected as many recipes for each of {chunks:.0f} chunks, received "
                f"{self.without_photos}, {round(self.without_photos * self.batch_size)} a batch."
            )
        if self.views and not self.freeze_image_epochs:
            raise ValueError(
                f"training.views: expected 0 without training.freeze_image_epochs, received {self.views}: what a "
                "backbone makes of photos changes as it learns."
            )

    @property
    def frozen_epochs(self) -> int:
        """Epochs during which the image backbone does not learn."""
        return self.epochs if self.freeze_image_epochs < 0 else min(self.freeze_image_epochs, self.epochs)
