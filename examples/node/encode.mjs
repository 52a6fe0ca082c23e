// Photos and recipes into embeddings with a kfood bundle, in Node.js: no Python, no TensorFlow.
//
//   npm install                                 where only npm's registry can be reached, onnxruntime-node's own download,
//                                               which a CPU does not need, is left out: ONNXRUNTIME_NODE_INSTALL=skip npm install
//   node encode.mjs BUNDLE --image soup.jpg
//   node encode.mjs BUNDLE --recipe soup.json     {"title": "…", "ingredients": ["…"], "instructions": ["…"]}
//
// Prints one embedding as JSON, an array of them for a file that holds a list of recipes. What is wrong is said in one
// sentence, exit code 1. The same two functions serve an application. photo.mjs says what is read of a photo, encoders.js,
// which this shares with the page of `kfood site`, what is read of a recipe.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import ort from "onnxruntime-node";
import * as encoders from "../../kfood/site/static/encoders.js";
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
  return encoders.encodePixels(ort, await bundle.session("image"), await decodePhoto(photo));
}

/** Recipes [{title, ingredients, instructions}, …], at least one → Float32Array each, their embeddings. */
export async function encodeRecipes(bundle, recipes) {
  const found = await encoders.encodeRecipes(ort, await bundle.session("recipe"), recipes);
  return found.map(({ embedding }) => embedding);
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
