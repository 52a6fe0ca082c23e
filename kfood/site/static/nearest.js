// The items nearest to a query, each compared.

/** float16 in several buffers → one Float32Array. */
export function fromFloat16(buffers) {
  const values = Float32Array.from({ length: 65536 }, (_, bits) => {
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    return (bits >> 15 ? -1 : 1) * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  });
  const made = new Float32Array(buffers.reduce((sum, buffer) => sum + buffer.byteLength / 2, 0));
  let to = 0;
  for (const buffer of buffers) {
    const view = new DataView(buffer);
    for (let from = 0; from < buffer.byteLength; from += 2) made[to++] = values[view.getUint16(from, true)];
  }
  return made;
}

/** [row, distance] of the k nearest, nearest first, equal distances by row. */
export function nearest(query, gallery, distance, k, among) {
  const width = query.length;
  const size = (values, start) => {
    let sum = 0;
    for (let i = 0; i < width; i++) sum += values[start + i] ** 2;
    return Math.sqrt(sum);
  };
  const own = size(query, 0);
  const found = [];
  for (let row = 0; row * width < gallery.length; row++) {
    if (among && !among[row]) continue;
    let [product, squares] = [0, 0];
    for (let i = 0, at = row * width; i < width; i++, at++) {
      product += query[i] * gallery[at];
      squares += (query[i] - gallery[at]) ** 2;
    }
    const cosine = () => product / Math.max(own * size(gallery, row * width), 1e-12);
    found.push([row, { euclidean: () => Math.sqrt(squares), cosine: () => 1 - cosine(), dot: () => -product }[distance]()]);
  }
  return found.sort(([a, near], [b, far]) => near - far || a - b).slice(0, k);
}
