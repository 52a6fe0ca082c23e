// What a bundle's encoders take, and what they give: the same in a browser and in Node.js, by onnxruntime-web or
// onnxruntime-node, which are handed in as `ort`. What is read of a text is as in kfood/recipe_texts.py.

/** What is read of a text: the first bytes of a line, the first lines of a recipe. */
const LINE_BYTES = 10_000;
const LINES = 500;

const KEYS = ["title", "ingredients", "instructions"];

/** Pixels {data: bytes, RGB, a row after the other, height, width} → Float32Array, the photo's embedding. */
export async function encodePixels(ort, session, { data, height, width }) {
  // Resizing and normalisation are in the graph.
  const image = new ort.Tensor("uint8", new Uint8Array(data), [1, height, width, 3]);
  return (await session.run({ image })).embedding.data;
}

/**
 * Recipes [{title, ingredients, instructions}, …], at least one → of each {embedding: Float32Array, words, known}: how
 * many words the model has read, and how many of these it knows.
 */
export async function encodeRecipes(ort, session, recipes) {
  if (!Array.isArray(recipes) || !recipes.length) {
    throw new Error("recipes: expected a list of at least one, received none.");
  }
  recipes.forEach(check);
  // Memory goes by recipes, times lines of the one with the most, times the longest line.
  const texts = recipes.map(({ title = "", ingredients = [], instructions = [] }) => ({
    title: clean(title),
    ingredients: ingredients.slice(0, LINES).map(clean),
    instructions: instructions.slice(0, LINES).map(clean),
  }));
  const lines = texts.map(({ title, ingredients, instructions }) => [title, ...ingredients, ...instructions]);
  const longest = lines.flat().reduce((most, line) => Math.max(most, line.length), 0);
  const cost = texts.length * Math.max(...lines.map((all) => all.length)) * longest;
  const found = [];
  for (const part of cost <= LINES * LINE_BYTES ? [texts] : texts.map((text) => [text])) {
    found.push(...(await encodeTexts(ort, session, part)));
  }
  const empty = found.findIndex(({ known }) => !known);
  if (empty >= 0) {
    const received = found[empty].words ? `${found[empty].words}, all of them unknown to it` : "none";
    throw new Error(`recipe ${empty}: expected at least one word that the model knows, received ${received}.`);
  }
  return found;
}

/** Throws unless a recipe is an object of a string and two lists of strings, any of them missing. */
function check(recipe, number) {
  const refuse = (expected, received) => {
    throw new Error(`recipe ${number}: expected ${expected}, received ${JSON.stringify(received)}.`);
  };
  if (recipe === null || typeof recipe !== "object" || Array.isArray(recipe)) refuse("an object", recipe);
  const unknown = Object.keys(recipe).filter((key) => !KEYS.includes(key));
  if (unknown.length) refuse(`the keys ${KEYS.join(", ")}`, unknown.join(", "));
  const { title = "", ingredients = [], instructions = [] } = recipe;
  if (typeof title !== "string") refuse("title to be a string", title);
  for (const [key, lines] of Object.entries({ ingredients, instructions })) {
    if (!Array.isArray(lines) || lines.some((line) => typeof line !== "string")) {
      refuse(`${key} to be a list of strings`, lines);
    }
  }
}

/**
 * What is read of a line; NUL and lone surrogates, which a C string and UTF-8 cannot hold, separate words. ASCII letters are
 * lowered, and no others: onnxruntime-web's own StringNormalizer lowers them all, É too.
 */
function clean(text) {
  const start = new TextEncoder().encode(text.slice(0, LINE_BYTES)).subarray(0, LINE_BYTES);
  const read = new TextDecoder("utf-8", { ignoreBOM: true }).decode(start, { stream: true });
  return read.replaceAll("\0", " ").replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

async function encodeTexts(ort, session, recipes) {
  const n = recipes.length;
  const lines = (key) => {
    const most = Math.max(...recipes.map((recipe) => recipe[key].length));
    const rows = recipes.flatMap((recipe) => Array.from({ length: most }, (_, i) => recipe[key][i] ?? ""));
    return new ort.Tensor("string", rows, [n, most]);
  };
  const { embedding, words, known_words: known = words } = await session.run({
    title: new ort.Tensor("string", recipes.map((recipe) => recipe.title), [n]),
    ingredients: lines("ingredients"),
    instructions: lines("instructions"),
  });
  const width = embedding.dims[1];
  return recipes.map((_, row) => ({
    embedding: embedding.data.slice(row * width, (row + 1) * width),
    words: Number(words.data[row]),
    known: Number(known.data[row]),
  }));
}
