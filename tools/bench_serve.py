"""Measure `kfood serve` on loopback: load with and without micro-batching, malformed requests, a kill.

The clients share this machine's processors with the service, as a proxy would; they send requests that were made before
and read answers without parsing them. Malformed requests are of this file's kinds, drawn at random; what schemathesis
draws from the service's own description is run beside it, see docs/results/serve.md.

Examples:
    kfood bench-serve BUNDLE --index INDEX
    kfood bench-serve BUNDLE --index INDEX --seconds 20 --malformed 5000
"""

import asyncio
import base64
import collections
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import zipfile
import zlib
from typing import Any

import tyro

_ROUNDS = 4


@dataclasses.dataclass(frozen=True)
class BenchServe:
    """Arguments of ``kfood bench-serve``."""

    bundle: tyro.conf.Positional[pathlib.Path]
    """Bundle to serve."""
    index: pathlib.Path
    """Index to serve."""
    clients: tuple[int, ...] = (1, 8, 32)
    """How many ask at once."""
    batches: tuple[int, ...] = (1, 16)
    """Values of --batch; 1: no micro-batching."""
    megapixels: float = 0.8
    """Of the photo that is searched by, in the shape 4:3."""
    seconds: float = 8.0
    """Of each measurement."""
    malformed: int = 1_000
    """Malformed requests."""
    seed: int = 0
    """Of what is malformed, and how."""


def main(arguments: list[str]) -> None:
    """Parses and measures."""
    run(tyro.cli(BenchServe, args=arguments, prog="kfood bench-serve", description=__doc__))


def run(args: BenchServe) -> None:
    """Prints a line a measurement."""
    requests = _requests(args)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before the first measurement")
    with contextlib.ExitStack() as stack:
        services = {batch: stack.enter_context(Served(args, batch)) for batch in args.batches}
        for kind, request in requests.items():
            for served in services.values():
                _ask(served, request, 1, 1.0, _Found())  # the first ones are slow
            for clients in args.clients:
                found = {batch: _Found() for batch in services}
                for _ in range(_ROUNDS):  # by turns, for the machine may have other work that comes and goes
                    for batch, served in services.items():
                        _ask(served, request, clients, args.seconds / _ROUNDS, found[batch])
                for batch, each in found.items():
                    print(
                        f"batch {batch:>2}, {kind:<6}, {clients:>2} clients: {each.summary(args.seconds)}", flush=True
                    )
    print(f"load {os.getloadavg()[0]:.1f} after the last of them", flush=True)
    with Served(args, args.batches[-1]) as served:
        _survive(served, requests, args)


class Served:
    """`kfood serve` in a process of its own.

    Attributes:
        port: where it listens.
    """

    def __init__(self, args: BenchServe, batch: int):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["--port", str(self.port), "--batch", str(batch)]
        self._command = [
            sys.executable,
            "-m",
            "kfood.tools.main",
            "serve",
            str(args.bundle),
            "--index",
            str(args.index),
        ]
        self._command += options

    def __enter__(self):
        self._process = subprocess.Popen(self._command)
        while True:
            try:
                self.health()
                return self
            except OSError:
                if self._process.poll() is not None:
                    raise ChildProcessError("expected kfood serve to start; its error is above.") from None
                time.sleep(0.1)

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """As a machine that loses its power would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=30) as answer:
            return json.load(answer)

    def cpu(self) -> float:
        """Seconds of processors that it has used (Linux)."""
        fields = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MB of memory that it holds (Linux)."""
        lines = pathlib.Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000


def _requests(args: BenchServe) -> dict[str, bytes]:
    """A search by a photo and by a recipe, each as the bytes of a request."""
    from PIL import Image

    from kfood.search import Index

    index = Index.open(args.index)
    record = index.record(0)
    photo, width = io.BytesIO(), round((args.megapixels * 1e6 * 4 / 3) ** 0.5)
    Image.open(io.BytesIO(index.thumbnail(0))).resize((width, width * 3 // 4)).save(photo, "JPEG", quality=90)
    recipe = json.dumps({"recipe": {key: record[key] for key in ("title", "ingredients", "instructions")}}).encode()
    requests = {"photo": post("/search", *form("photo", "dish.jpg", photo.getvalue()))}
    if "recipes" in index.sides:
        requests["recipe"] = post("/search", recipe, "application/json")
    return requests


def form(field: str, name: str, content: bytes) -> tuple[bytes, str]:
    """A form with one file: its bytes and its type."""
    head = f'--kfood\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--kfood--\r\n", "multipart/form-data; boundary=kfood"


def post(path: str, body: bytes, kind: str) -> bytes:
    """The bytes of a POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclasses.dataclass
class _Found:
    """What was measured: seconds of each answer, seconds of processors, and statuses other than 200."""

    times: list[float] = dataclasses.field(default_factory=list)
    cpu: float = 0.0
    wrong: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def summary(self, seconds: float) -> str:
        """In one line."""
        count = len(self.times)
        late = sorted(self.times)[min(count * 99 // 100, count - 1)]
        return (
            f"{count / seconds:6.1f} requests/s, p50 {1000 * statistics.median(self.times):6.1f} ms, "
            f"p99 {1000 * late:6.1f} ms, {1000 * self.cpu / count:5.1f} ms of a processor each"
            + (f", REFUSED {dict(self.wrong)}" if self.wrong else "")
        )


def _ask(served: Served, request: bytes, clients: int, seconds: float, found: _Found) -> None:
    """Some clients ask again and again."""

    async def client(end: float) -> None:
        connection = await asyncio.open_connection("127.0.0.1", served.port)
        while (start := time.perf_counter()) < end:
            status, _ = await _exchange(connection, request)
            found.times.append(time.perf_counter() - start)
            if status != 200:
                found.wrong[status] += 1
        connection[1].close()

    async def all_clients() -> None:
        end = time.perf_counter() + seconds
        await asyncio.gather(*(client(end) for _ in range(clients)))

    before = served.cpu()
    asyncio.run(all_clients())
    found.cpu += served.cpu() - before


async def _exchange(connection: Any, content: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to a request."""
    reader, writer = connection
    writer.write(content)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head.split(b" ")[1]), await reader.readexactly(length)


def _survive(served: Served, requests: dict[str, bytes], args: BenchServe) -> None:
    """Malformed requests, one after the other, then a kill; prints what became of the service."""

    async def one(content: bytes) -> tuple[int, bytes]:
        connection = await asyncio.open_connection("127.0.0.1", served.port)
        try:
            return await asyncio.wait_for(_exchange(connection, content), 60)
        except (ConnectionError, asyncio.IncompleteReadError):
            return 0, b""  # it closed the connection: of a giant body it reads no more than it must
        finally:
            connection[1].close()

    def send(content: bytes) -> tuple[int, bytes]:
        return asyncio.run(one(content))

    _, before = send(requests["photo"])
    rng, statuses = random.Random(args.seed), collections.Counter()
    photo = requests["photo"].split(b"\r\n\r\n", 2)[2].rsplit(b"\r\n--kfood", 1)[0]
    marks = []
    for number in range(args.malformed):
        statuses[send(post("/search", *_malformed(rng, photo)))[0]] += 1
        if number % max(args.malformed // 10, 1) == 0:
            marks.append(served.memory())
    marks.append(served.memory())
    print(f"malformed: {args.malformed} requests, statuses {dict(sorted(statuses.items()))}")
    print(f"memory, MB, at every tenth of them: {', '.join(f'{mark:.0f}' for mark in marks)}")
    print(f"the answer to a good request is the one before: {send(requests['photo'])[1] == before}")
    served.kill()
    with served:
        print(f"after kill -9 and a new start likewise: {send(requests['photo'])[1] == before}")


def _malformed(rng: random.Random, photo: bytes) -> tuple[bytes, str]:
    """A body and its type, none of which can be answered."""
    cut = photo[: rng.randrange(len(photo))]
    noise = bytearray(photo)
    for _ in range(50):
        noise[rng.randrange(20, len(noise))] = rng.randrange(256)
    wide = rng.choice([3_000, 10_000, 60_000]), rng.choice([20_000, 60_000])
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.json", b'{"title": "' + b"soup " * rng.randrange(200_000, 2_000_000) + b'"}')
    wrong: list[Any] = [None, 1, -1, 1e308, True, [], {}, "\ud800", "x" * rng.randrange(10, 10_000), [[[]]], {"a": [1]}]
    fields = ["photo", "recipe", "text", "k", "to", "with", "without", "explain", "no such field"]
    kinds: list[tuple[bytes, str]] = [
        form("photo", "cut.jpg", cut),
        form("photo", "noise.jpg", bytes(noise[: len(cut)])),
        form("photo", "giant.png", giant_png(*wide)),
        form(
            "photo", "long.jpg", photo + bytes(rng.choice([21_000_000, 40_000_000]) if rng.random() < 0.05 else 0) + cut
        )
        if rng.random() < 0.2
        else form("photo", "none.jpg", rng.randbytes(rng.randrange(5_000))),
        form("recipe", "bomb.zip", archive.getvalue()),
        form("recipe", "bomb.gz", zlib.compress(bytes(rng.randrange(1_000_000, 30_000_000)), 9, 31)),
        form("recipe", "photo.json", cut),
        form(rng.choice(fields), "a", rng.randbytes(100)),
        (rng.randbytes(rng.randrange(2_000)), "multipart/form-data; boundary=kfood"),
        (json.dumps({rng.choice(fields): rng.choice(wrong) for _ in range(3)}).encode(), "application/json"),
        (json.dumps({"text": "soup", rng.choice(fields[3:]): rng.choice(wrong[1:])}).encode(), "application/json"),
        (json.dumps({"recipe": rng.choice(wrong)}).encode(), "application/json"),
        (json.dumps({"photo": base64.b64encode(cut).decode()[: rng.randrange(1, 500)]}).encode(), "application/json"),
        (b"[" * rng.randrange(1, 300_000), "application/json"),
        (b'{"recipe": ' + b'{"a":' * rng.randrange(1, 50_000), "application/json"),
        (rng.randbytes(rng.randrange(2_000)), rng.choice(["application/json", "text/plain", "", "image/jpeg"])),
    ]
    return rng.choice(kinds)


def giant_png(width: int, height: int) -> bytes:
    """A PNG that says it is that large and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
