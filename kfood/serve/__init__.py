"""A search service over HTTP, and its page: photos, recipes and words in, what an index holds nearest to them out.

::

    limits.py       what a request may be, and how one that is more is refused
    ingredients.py  which recipes have an ingredient: the filters "with" and "without"
    batching.py     requests that wait are encoded together
    gallery.py      an index and its encoders, open; another takes its place without a request being dropped
    reading.py      requests: JSON and forms → queries
    answers.py      what is answered, field by field
    watching.py     metrics, limits on size and time around every request, headers
    service.py      what the addresses share: the gallery, threads, batches
    searching.py    the addresses /search and /embed
    looking.py      those of the page, of items, and of how the service is
    app.py          all of it as an ASGI application
    static/         the page: HTML, CSS and JavaScript as they are

Needs ``pip install "kfood[serve]"``. TensorFlow is not imported: photos and recipes are encoded by onnxruntime, in
threads.
"""
