"""An index of recipes or trajectories and their pictures, or of photos alone, and what is nearest to an embedding.

::

    INDEX/
      index.json        what it is: bundle, model, distance, dataset, number of items; size and sha256 of each file
      photos.npy        float32 [items, dim], embeddings of the photos
      recipes.npy       float32 [items, dim], embeddings of the recipes, where there are any
      trajectories.npy  likewise of trajectories; photos are then their map pictures
      items.jsonl       a line an item: id, title, ingredients, instructions
      thumbnails.bin    a small JPEG of each item's photo, one after the other
      offsets.npy       int64 [2, items + 1]: where each line and each thumbnail begins
      photos.faiss, recipes.faiss    on request, a graph to search in
      photos.codes.npy, …        or, on request, embeddings in int8 [items, dim] or in bits, uint8 [items, dim / 8]
      photos.codebook.npy, …     float32 [dim]: what 1 means in each column of int8; above what a bit is 1

Searching needs neither the dataset nor TensorFlow: embeddings are mapped, not loaded, and compared in blocks. The
search is exact by default. For galleries of millions it first picks candidates, and compares those exactly: with
FAISS's HNSW graph, which looks at a part of the gallery only; or by int8 or binary codes, a quarter or a 32nd of the
embeddings, so that a gallery stays in memory that would not fit as it is.
"""

from kfood.search.building import build_index
from kfood.search.exact import nearest
from kfood.search.index import Index, Result
from kfood.search.items import Encoder, Item, Side
from kfood.search.pictures import Explanation, Generator, draw_results, explain
from kfood.search.queries import plain_recipe, recipe_as_query, text_as_recipe

__all__ = [
    "Encoder",
    "Explanation",
    "Generator",
    "Index",
    "Item",
    "Result",
    "Side",
    "build_index",
    "draw_results",
    "explain",
    "nearest",
    "plain_recipe",
    "recipe_as_query",
    "text_as_recipe",
]
