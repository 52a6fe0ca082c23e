// Photos and recipes into embeddings with a kfood bundle, in Node.js: no Python, no TensorFlow.
//
//   npm install                                 where only npm's registry can be reached, onnxruntime-node's own download,
//                                               which a CPU does not need, is left out: ONNXRUNTIME_NODE_INSTALL=skip npm install
//   node encode.mjs BUNDLE --image soup.jpg
//   node encode.mjs BUNDLE --recipe soup.json     {"title": "…", "ingredients": ["…"], "instructions": ["…"]}
//
// Prints one embedding as JSON, an array of them for a file that holds a list of recipes. What is wrong is said in one
// sentence, exit code 1. The same two functions serve an application. photo.mjs says what is read of a photo.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import ort from "onnxruntime-node";
import { decodePhoto } from "./photo.mjs";

/** Opens a bundle: its description, and a way to load its encoders. */
export async function openBundle(folder) {
  const description = await readFile(path.join(folder, "kfood.json"), "utf8").catch(() => {
    throw new Error(`${folder}: expected a bundle made by \`kfood export\`, found no kfood.json in it.`);
  });
  const manifest = JSON.parse(description);
  if (manifest.format !== 3) throw new Error(`${folder}: expected a bundle of format 3, received ${manifest.format}.`);
  const sessions = {};
  const session = (name) => {
    const raw = manifest.encoders[name]?.raw;
    if (!raw) throw new Error(`expected an encoder among ${Object.keys(manifest.encoders)}, received ${name}.`);
    return (sessions[name] ??= ort.InferenceSession.create(path.join(folder, raw.file), { logSeverityLevel: 3 }));
  };
  return { manifest, session };
}

/** A photo (path or Buffer: JPEG, PNG, WebP) → Float32Array, its embedding. */
export async function encodePhoto(bundle, photo) {
  const { data, height, width } = await decodePhoto(photo);
  // Resizing and normalisation are in the graph.
  const image = new ort.Tensor("uint8", new Uint8Array(data), [1, height, width, 3]);
  return (await (await bundle.session("image")).run({ image })).embedding.data;
}

/** What is read of a text: the first bytes of a line, the first lines of a recipe. */
const LINE_BYTES = 10_000;
const LINES = 500;

const KEYS = ["title", "ingredients", "instructions"];

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

/** Recipes [{title, ingredients, instructions}, …], at least one → Float32Array each, their embeddings. */
export async function encodeRecipes(bundle, recipes) {
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
  if (cost <= LINES * LINE_BYTES) return encodeTexts(bundle, texts, 0);
  const found = [];
  for (const [row, text] of texts.entries()) found.push(...(await encodeTexts(bundle, [text], row)));
  return found;
}

/** What is read of a line; NUL and lone surrogates, which a C string and UTF-8 cannot hold, separate words. */
function clean(text) {
  const start = Buffer.from(text.slice(0, LINE_BYTES).toWellFormed()).subarray(0, LINE_BYTES);
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(start, { stream: true }).replaceAll("\0", " ");
}

async function encodeTexts(bundle, recipes, first) {
  const n = recipes.length;
  const lines = (key) => {
    const most = Math.max(...recipes.map((recipe) => recipe[key].length));
    const rows = recipes.flatMap((recipe) => Array.from({ length: most }, (_, i) => recipe[key][i] ?? ""));
    return new ort.Tensor("string", rows, [n, most]);
  };
  const { embedding, words, known_words: known = words } = await (await bundle.session("recipe")).run({
    title: new ort.Tensor("string", recipes.map((recipe) => recipe.title), [n]),
    ingredients: lines("ingredients"),
    instructions: lines("instructions"),
  });
  const empty = known.data.findIndex((count) => count === 0n);
  if (empty >= 0) {
    const received = words.data[empty] === 0n ? "none" : `${words.data[empty]}, all of them unknown to it`;
    throw new Error(`recipe ${first + empty}: expected at least one word that the model knows, received ${received}.`);
  }
  const width = embedding.dims[1];
  return recipes.map((_, row) => embedding.data.slice(row * width, (row + 1) * width));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder, option, file] = process.argv.slice(2);
  if (!file || !["--image", "--recipe"].includes(option)) {
    console.error("usage: node encode.mjs BUNDLE --image PHOTO | --recipe FILE.json");
    process.exit(2);
  }
  try {
    const bundle = await openBundle(folder);
    if (option === "--image") {
      console.log(JSON.stringify(Array.from(await encodePhoto(bundle, file))));
    } else {
      const given = JSON.parse((await readFile(file, "utf8")).replace(/^\uFEFF/, ""));
      const found = (await encodeRecipes(bundle, Array.isArray(given) ? given : [given])).map((row) => Array.from(row));
      console.log(JSON.stringify(Array.isArray(given) ? found : found[0]));
    }
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
