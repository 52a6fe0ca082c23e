"""Milvus by its client pymilvus (extra ``milvus``): embedded, as Milvus Lite in the index's folder, or a server.

A collection a side holds the rows' numbers and vectors, in an HNSW graph, or in bytes where Milvus Lite would build a
graph for many minutes. Its name is of the index alone, so that many share a server. A server's token is read from the
environment variable ``MILVUS_TOKEN`` and written nowhere.
"""

import logging
import os

import numpy as np

from kfood.search import engines

_TOKEN = "MILVUS_TOKEN"
_GRAPH = {"M": 32, "efConstruction": 128}
_EFFORT = 128
_CODES = {"nlist": 1}
"""All rows in one list, that is, compared with all: of a query's time in Milvus Lite this is the smaller part."""

_CODED = 10_000
"""Rows from which on Milvus Lite has codes of a byte a number and no graph."""

_METRICS = {"euclidean": "L2", "cosine": "COSINE", "dot": "IP"}
_SENT = 1_000
"""Rows sent at once: a message has 64 MB at most."""

_MOST = 16_384
"""Rows that Milvus returns at most."""


class Milvus(engines.Engine):
    """See the module."""

    candidates = (2, 20)

    def check(self, address=""):
        """See the base class."""
        if address and not address.startswith(("http://", "https://", "tcp://")):
            raise ValueError(f"address: expected that of a Milvus server, http://HOST:19530, received {address!r}.")
        _import_pymilvus(embedded=not address)

    def lag(self, place):
        """One process at a time has the database of Milvus Lite: a service that searches keeps it."""
        return 0 if place.address else 4096

    def extend(self, place, gallery, start):
        """Send the rows; those sent before by a process that was killed are the same."""
        client = _connect(place)
        if not start:
            self._create(client, place, *gallery.shape)
        for first in range(start, len(gallery), _SENT):
            rows = zip(range(first, len(gallery)), np.asarray(gallery[first : first + _SENT]), strict=False)
            client.upsert(_name(place), [{"row": row, "vector": vector} for row, vector in rows])
        client.flush(_name(place))
        client.load_collection(_name(place))  # Milvus Lite builds the graph before this ends

    def _create(self, client, place, rows, dim):
        pymilvus = _import_pymilvus()
        client.drop_collection(_name(place))
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=dim)
        index = client.prepare_index_params()
        kind, parameters = ("HNSW", _GRAPH) if place.address or rows < _CODED else ("IVF_SQ8", _CODES)
        # Milvus Lite looks for them one level below where pymilvus writes them.
        params = parameters if place.address else {"params": parameters}
        index.add_index("vector", index_type=kind, metric_type=_METRICS[place.distance], params=params)
        # What a server has taken it is to find at once; Milvus Lite does so, and knows no levels.
        level = {"consistency_level": "Strong"} if place.address else {}
        client.create_collection(_name(place), schema=schema, index_params=index, **level)
        client.release_collection(_name(place))  # or Milvus Lite builds a graph with every few rows that it writes

    def forget(self, place, rows):
        """Delete them there too."""
        client = _connect(place)
        for first in range(0, len(rows), _MOST):
            client.delete(_name(place), ids=rows[first : first + _MOST].tolist())

    def close(self, place):
        """Milvus Lite runs in threads of this process, and holds its folder."""
        if not place.address:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(_database(place))

    def drop(self, place):
        """Remove the collection from the server."""
        if place.address:
            _connect(place).drop_collection(_name(place))

    def finder(self, place, gallery):
        """Connect."""
        client = _connect(place)
        if not client.has_collection(_name(place)):
            where = place.address or _database(place)
            raise ValueError(
                f"{where}: expected the collection {_name(place)}, with the vectors of this index, received none; run "
                "`kfood index … --overwrite` again."
            )
        client.load_collection(_name(place))
        times, least = self.candidates
        missing = _import_pymilvus().MilvusException

        def find(query, top, among):
            wanted = min(max(times * top, least), _MOST)
            if wanted < top:
                return np.zeros(0, np.int64)  # beyond what Milvus does: the index compares all
            condition = f"row < {len(gallery)}"
            if among is not None:
                condition = _condition(among)
            try:
                found = client.search(
                    _name(place),
                    data=[query],
                    limit=wanted,
                    filter=condition,
                    output_fields=["row"],
                    search_params={"params": {"ef": max(_EFFORT, wanted)}},
                )
            except missing:
                if client.has_collection(_name(place)):
                    raise
                return np.zeros(0, np.int64)  # the index on disk is another by now: this one compares all
            return np.array([hit["row"] for hit in found[0]], np.int64)

        return find


def _condition(among):
    """The shorter of the two ways to say which rows may be found."""
    few = np.flatnonzero(among)
    others = np.flatnonzero(~among)
    if len(others) < len(few):
        return f"row < {len(among)} and row not in {others.tolist()}" if len(others) else f"row < {len(among)}"
    return f"row in {few.tolist()}"


def _name(place):
    return f"kfood_{place.key}_{place.side}"


def _database(place):
    return str(place.folder / "milvus.db")


def _connect(place):
    pymilvus = _import_pymilvus()
    # What they log they also raise, or it is of no consequence: what Milvus Lite has not implemented.
    for library in ("milvus_lite", "pymilvus", "grpc._server"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        if place.address:
            return pymilvus.MilvusClient(place.address, token=os.environ.get(_TOKEN, ""))
        return pymilvus.MilvusClient(_database(place))
    except pymilvus.MilvusException as error:
        if place.address:
            raise ConnectionError(
                f"{place.address}: expected a Milvus server, and its token in {_TOKEN} if it wants one, received: "
                f"{error.message}."
            ) from error
        raise BlockingIOError(
            f"{_database(place)}: expected the database of Milvus Lite, which one process has at a time, received: "
            f"{error.message}; end the process that has it (kfood serve?), or index with a server's --address."
        ) from error


def _import_pymilvus(embedded=False):
    try:
        import pymilvus

        if embedded:
            import milvus_lite  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"--engine milvus: expected the package {error.name}, received none; pip install 'kfood[milvus]'."
        ) from error
    return pymilvus


ENGINE = Milvus()
