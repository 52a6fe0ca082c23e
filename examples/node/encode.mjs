// Photos and recipes into embeddings with a kfood bundle, in Node.js: no Python, no TensorFlow.
//
//   npm install
//   node encode.mjs BUNDLE --image soup.jpg
//   node encode.mjs BUNDLE --recipe soup.json     {"title": "…", "ingredients": ["…"], "instructions": ["…"]}
//
// Prints one embedding as JSON. The same two functions serve an application.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import ort from "onnxruntime-node";
import sharp from "sharp";

/** Opens a bundle: its description, and a way to load its encoders. */
export async function openBundle(folder) {
  const manifest = JSON.parse(await readFile(path.join(folder, "kfood.json"), "utf8"));
  if (manifest.format !== 3) throw new Error(`${folder}: expected a bundle of format 3, received ${manifest.format}.`);
  const sessions = {};
  const session = (name) => {
    const raw = manifest.encoders[name]?.raw;
    if (!raw) throw new Error(`expected an encoder among ${Object.keys(manifest.encoders)}, received ${name}.`);
    return (sessions[name] ??= ort.InferenceSession.create(path.join(folder, raw.file), { logSeverityLevel: 3 }));
  };
  return { manifest, session };
}

/** A photo (path or Buffer: JPEG, PNG, WebP, GIF) → Float32Array, its embedding. */
export async function encodePhoto(bundle, photo) {
  // Upright, and RGB whatever it was; resizing and normalisation are in the graph.
  // Colour profiles are not applied, as they were not in training.
  const { data, info } = await sharp(photo, { ignoreIcc: true }).rotate().toColourspace("srgb").removeAlpha().raw()
    .toBuffer({ resolveWithObject: true });
  const image = new ort.Tensor("uint8", new Uint8Array(data), [1, info.height, info.width, 3]);
  return (await (await bundle.session("image")).run({ image })).embedding.data;
}

/** Recipes {title, ingredients, instructions} → Float32Array each, their embeddings. */
export async function encodeRecipes(bundle, recipes) {
  const n = recipes.length;
  // NUL and lone surrogates, which a C string and UTF-8 cannot hold, separate words.
  const clean = (text) => text.toWellFormed().replaceAll("\0", " ");
  const lines = (key) => {
    const most = Math.max(...recipes.map((recipe) => (recipe[key] ?? []).length));
    const rows = recipes.flatMap((recipe) => Array.from({ length: most }, (_, i) => clean(recipe[key]?.[i] ?? "")));
    return new ort.Tensor("string", rows, [n, most]);
  };
  const { embedding, words } = await (await bundle.session("recipe")).run({
    title: new ort.Tensor("string", recipes.map((recipe) => clean(recipe.title ?? "")), [n]),
    ingredients: lines("ingredients"),
    instructions: lines("instructions"),
  });
  const empty = words.data.findIndex((count) => count === 0n);
  if (empty >= 0) throw new Error(`recipe ${empty}: expected at least one word, received none.`);
  const width = embedding.dims[1];
  return recipes.map((_, row) => embedding.data.slice(row * width, (row + 1) * width));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder, option, file] = process.argv.slice(2);
  if (!file || !["--image", "--recipe"].includes(option)) {
    console.error("usage: node encode.mjs BUNDLE --image PHOTO | --recipe FILE.json");
    process.exit(2);
  }
  const bundle = await openBundle(folder);
  const embedding = option === "--image"
    ? await encodePhoto(bundle, file)
    : (await encodeRecipes(bundle, [JSON.parse(await readFile(file, "utf8"))]))[0];
  console.log(JSON.stringify(Array.from(embedding)));
}
