"""Tiny presets of keras-hub, CLIP and SigLIP, with random weights and tokenizers of their own."""

import io

import keras_hub
import numpy as np

SIDE, CLIP_LENGTH, SIGLIP_LENGTH = 32, 12, 10
SCALE, OFFSET = [0.01, 0.02, 0.03], [-0.1, 0.2, 0.3]
WIDTHS = {"CLIP": 6, "SigLIP": 8}


def two_sided(kind, vocabulary, length):
    """A tiny CLIP or SigLIP, and a converter with a scale and an offset for each channel."""
    sizes = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "intermediate_dim": 8}
    models = keras_hub.models
    vision = getattr(models, f"{kind}VisionEncoder")(patch_size=16, image_shape=(SIDE, SIDE, 3), **sizes)
    text = getattr(models, f"{kind}TextEncoder")(
        vocabulary_size=vocabulary, embedding_dim=8, max_sequence_length=length, **sizes
    )
    more = {"projection_dim": WIDTHS[kind]} if kind == "CLIP" else {}
    converter = getattr(keras_hub.layers, f"{kind}ImageConverter")
    return (
        getattr(models, f"{kind}Backbone")(vision, text, **more, name=kind),
        converter(image_size=(SIDE, SIDE), scale=SCALE, offset=OFFSET),
    )


def randomise(network, rng, spread=1.0, power=1):
    """Weights from a normal distribution; numbers of places stay what they are."""
    for weight in network.weights:
        whole = "int" in str(weight.dtype)
        weight.assign(np.arange(weight.shape[1])[None] if whole else rng.normal(0, spread, weight.shape) ** power)


def clip_tokenizer():
    """Every byte, six merges, and the two ids that begin and end a text, the last one the highest, as CLIP needs."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    characters = [chr(byte) for byte in shown] + [chr(256 + place) for place in range(len(hidden))]
    merges = ["a p", "ap p", "l e</w>", "p i", "pi e</w>", "s u"]
    tokens = [*characters, *(character + "</w>" for character in characters)]
    tokens += [merge.replace(" ", "") for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    return keras_hub.models.CLIPTokenizer(vocabulary=vocabulary, merges=merges)


def siglip_tokenizer():
    """SentencePiece, learned from a few words."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["title apple pie bake", "sugar flour apple", "1 2 cup flour", "grüne soße"] * 5),
        model_writer=written, vocab_size=40, pad_id=0, bos_id=-1, eos_id=1, unk_id=2, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    return keras_hub.models.SigLIPTokenizer(proto=written.getvalue())


def save(kind, folder, rng):
    """A preset's folder.

    Returns:
        The network, and its own preprocessing: text → ids int32 ``[length]``.
    """
    clip = kind == "CLIP"
    tokenizer = clip_tokenizer() if clip else siglip_tokenizer()
    length = CLIP_LENGTH if clip else SIGLIP_LENGTH
    network, converter = two_sided(kind, tokenizer.vocabulary_size(), length)
    randomise(network, rng)
    for part in (network, converter, tokenizer):
        part.save_to_preset(folder)
    preprocess = getattr(keras_hub.models, f"{kind}Preprocessor")(tokenizer, sequence_length=length)
    return network, lambda text: np.asarray(preprocess({"prompts": [text], "images": None})["token_ids"])[0]
