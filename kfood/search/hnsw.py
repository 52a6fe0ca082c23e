"""Candidates by FAISS's HNSW graph, which looks at a part of the gallery only."""

from kfood.search import codes

CANDIDATES = (2, 0)
ENDINGS = ("faiss",)

_NEIGHBOURS = 32
_EFFORT = 128


def check() -> None:
    """Raises ModuleNotFoundError without FAISS (extra ``faiss``)."""
    _import_faiss()


def write(folder, side, gallery, distance) -> None:
    """Write the graph."""
    faiss = _import_faiss()
    metric = faiss.METRIC_INNER_PRODUCT if distance == "dot" else faiss.METRIC_L2
    graph = faiss.IndexHNSWFlat(gallery.shape[1], _NEIGHBOURS, metric)
    graph.hnsw.efConstruction = _EFFORT
    for rows in codes.blocks(gallery):
        graph.add(codes.comparable(gallery[rows], distance))
    graph.hnsw.efSearch = _EFFORT
    faiss.write_index(graph, str(folder / f"{side}.faiss"))


def picker(folder, side, distance) -> codes.Picker:
    """Read the graph, whole."""
    graph = _import_faiss().read_index(str(folder / f"{side}.faiss"))
    times, least = CANDIDATES

    def pick(queries, top):
        graph.hnsw.efSearch = max(_EFFORT, times * top)
        _, rows = graph.search(codes.comparable(queries, distance), min(max(times * top, least), graph.ntotal))
        return [row[row >= 0] for row in rows]

    return pick


def _import_faiss():
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "approximate search: expected FAISS, received none; pip install 'kfood[faiss]'."
        ) from error
    return faiss
