"""A folder that searches in the browser, behind any server of files: the page of :mod:`kfood.serve` without a service.

::

    building.py     an index and the bundle that made it → the folder
    vendored.py     onnxruntime-web, which runs the encoders in a browser, taken from npm or from a copy
    static/         what answers the page in the service's place: JavaScript as it is

::

    SITE/
      index.html, static/    the page; static/ort/ holds onnxruntime-web
      site.json              model, distance, names of ingredients, the files below
      files.json             size and sha256 of each file
      data-FINGERPRINT/      another after each change, so that no browser mixes old files with new
        image.onnx, recipe.onnx     encoders that take photos and strings
        photos-0.f16, recipes-0.f16, …   embeddings, float16 [2048, dim] little-endian each
        items-0.json, …      their texts
        thumbnails/0/7.jpg   the photo of item 7
"""

from kfood.site.building import MANY, build_site
from kfood.site.vendored import OnnxruntimeWeb, by_npm, from_copy

__all__ = ["MANY", "OnnxruntimeWeb", "build_site", "by_npm", "from_copy"]
