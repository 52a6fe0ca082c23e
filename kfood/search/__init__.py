"""An index of recipes or trajectories and their pictures, or of photos alone, and what is nearest to an embedding.

::

    INDEX/
      index.json        what it is: bundle, model, distance, dataset, how many rows count; size and sha256 of each file
      1/                its rows; only added to: when half of them are deleted the others go to 2/, and so on
        photos.f32        float32 [rows, dim], embeddings of the photos
        recipes.f32       likewise of the recipes, where there are any
        trajectories.f32  likewise of trajectories; photos are then their map pictures
        items.jsonl       a line an item: id, title, ingredients, instructions
        thumbnails.bin    a small JPEG of each item's photo, one after the other
        offsets.i64       int64 [rows + 1, 2]: where each line and each thumbnail begins
        deleted-7.i64     int64 [7]: rows of items that were deleted, or replaced by a later row
        photos.…          what the index's engine keeps of each side; see kfood.search.engines

Searching needs neither the dataset nor TensorFlow: embeddings are mapped, not loaded, and compared in blocks. The
search is exact by default. For galleries of millions an engine picks candidates, and those are compared exactly:
docs/indexes.md says which to take.

:func:`build_index` makes an index, :func:`add_items` and :func:`delete_items` change it, :class:`Index` searches. What
was embedded by `kfood embed`, perhaps on many machines, is opened as :class:`Embeddings` and given in place of items.
"""

from kfood.search.building import build_index
from kfood.search.exact import nearest
from kfood.search.index import Index, Result
from kfood.search.items import Encoder, Item, Side
from kfood.search.parts import Embeddings
from kfood.search.pictures import Explanation, Generator, draw_results, explain
from kfood.search.queries import plain_recipe, recipe_as_query, text_as_recipe
from kfood.search.updating import Change, add_items, delete_items

__all__ = [
    "Change",
    "Embeddings",
    "Encoder",
    "Explanation",
    "Generator",
    "Index",
    "Item",
    "Result",
    "Side",
    "add_items",
    "build_index",
    "delete_items",
    "draw_results",
    "explain",
    "nearest",
    "plain_recipe",
    "recipe_as_query",
    "text_as_recipe",
]
