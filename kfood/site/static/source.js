// Where the page's answers come from in a folder that `kfood site` has made: from its files, computed here. The service's
// file of the same name says what each function takes and gives.

import * as ort from "./ort/ort.js";
import { encodePixels, encodeRecipes } from "./encoders.js";
import { Ingredients, cleanName, shared, words } from "./ingredients.js";
import { fromFloat16, nearest } from "./nearest.js";
import { pixels } from "./photos.js";
import { readRecipe, recipeAsQuery, textAsRecipe } from "./recipes.js";

const here = (name) => new URL(name, import.meta.url).href;
ort.env.wasm.wasmPaths = { mjs: here("ort/ort-wasm.js"), wasm: here("ort/ort-wasm.wasm") };
ort.env.wasm.numThreads = 1; // several need headers that most servers do not send
ort.env.wasm.proxy = true; // in a worker: the page stays awake

async function load(file, kind) {
  const answer = await fetch(here(`../${file}`), file === "site.json" ? { cache: "no-cache" } : {}).catch(() => {
    throw new Error("The server of this page does not answer. Is it still running?");
  });
  if (!answer.ok) throw new Error(`${file}: expected the file, received status ${answer.status} of this page's server.`);
  return answer[kind]();
}

/** The function's value, computed once; again where it failed. */
function once(compute) {
  const made = new Map();
  return (key) => {
    if (!made.has(key)) {
      made.set(key, compute(key).catch((error) => {
        made.delete(key);
        throw error;
      }));
    }
    return made.get(key);
  };
}

const site = once(() => load("site.json", "json"));
const blocks = async (name, kind) => Promise.all((await site()).blocks[name].map((file) => load(file, kind)));
const items = once(async () => {
  const all = (await blocks("items", "json")).flat();
  return { all, ingredients: new Ingredients(all.map((item) => item.ingredients)) };
});
const gallery = once(async (side) => fromFloat16(await blocks(side, "arrayBuffer")));
const session = once(async (name) => {
  const file = await load((await site()).encoders[name].file, "arrayBuffer");
  return ort.InferenceSession.create(new Uint8Array(file), { logSeverityLevel: 3 });
});

export async function about() {
  const { model, items: count, searches, dataset, encoders } = await site();
  if (!navigator.connection?.saveData) {
    for (const ready of [items(), ...searches.map((kind) => gallery(sideOf(kind, searches))), ...Object.keys(encoders).map(session)]) {
      ready.catch(() => {}); // the search that needs it says so
    }
  }
  return { model, items: count, searches, generates: false, looks: false, index: { dataset } };
}

/** What a query is compared with. */
const sideOf = (kind, searches) => (kind === "photo" && searches.includes("recipe") ? "recipes" : "photos");

export async function names(start, limit) {
  const wanted = ` ${start.toLowerCase().trim()}`;
  return (await site()).names.filter((name) => ` ${name}`.includes(wanted)).slice(0, limit).map((name) => ({ name }));
}

export async function search(query, wanted, signal, say) {
  const { searches, model, distance, bytes } = await site();
  const to = sideOf(query.kind, searches);
  const name = query.kind === "photo" ? "image" : "recipe";
  const waiting = setTimeout(() => say(`Loading ${(bytes / 1e6).toFixed(0)} MB to search with …`), 500);
  const ready = await Promise.all([items(), gallery(to), session(name)]).finally(() => clearTimeout(waiting));
  const [{ all, ingredients }, embeddings] = ready;
  signal.throwIfAborted();
  say("Searching …");
  const { embedding, read, named } = await embed(query);
  signal.throwIfAborted();
  const among = ingredients.among(wanted.with, wanted.without);
  const notes = wanted.with.filter((each) => !ingredients.having(words(each)).some(Boolean)).map((each) => `No recipe here has “${each}”.`);
  if (read.known_words < read.words) notes.push(`The model knows ${read.known_words} of the ${read.words} words that it reads.`);
  const marked = [...named, ...wanted.with.map(words)];
  const { tables, thumbnails } = await site();
  const results = nearest(embedding, embeddings, distance, wanted.k, among).map(([row, far], place) => {
    const marks = shared(all[row].ingredients, marked, tables);
    return {
      ...all[row],
      rank: place + 1,
      distance: far,
      ingredients: all[row].ingredients.map((text, line) => ({ text, shared: marks[line] })),
      thumbnail: here(`../${thumbnails}/${Math.floor(row / 1000)}/${row}.jpg`),
    };
  });
  const candidates = among ? among.filter(Boolean).length : all.length;
  return { model, distance, to, items: all.length, candidates, exact: true, query: read, results, notes };
}

/** A query → {embedding, read: what of it is shown, named: ingredients that it names, each a Set of words}. */
export async function embed(query) {
  const { spec, tables } = await site();
  if (query.kind === "photo") {
    const embedding = await encodePixels(ort, await session("image"), await pixels(query.value));
    return { embedding, read: { kind: "photo", title: "", ingredients: [] }, named: [] };
  }
  let recipe, named;
  if (query.kind === "text") {
    recipe = { title: query.value, ingredients: [] };
    const listed = textAsRecipe(query.value, spec).ingredients;
    const parts = (listed.length > 1 ? listed : [query.value]).map(words).filter((part) => part.size);
    const { ingredients } = await items();
    const known = (part) => ingredients.having(part).some(Boolean); // "olive oil", and not "tomato soup"
    named = parts.flatMap((part) => (known(part) ? [part] : [...part].map((word) => new Set([word]))));
  } else {
    recipe = readRecipe(typeof query.value === "string" ? query.value : await query.value.text(), tables);
    named = recipe.ingredients.map((line) => words(cleanName(line, tables))).filter((name) => name.size);
  }
  const content = query.kind === "text" ? textAsRecipe(query.value, spec) : recipeAsQuery(recipe, spec, tables);
  const found = await encodeRecipes(ort, await session("recipe"), [content]).catch((error) => {
    throw new Error(error.message.replace(/^recipe 0/, query.kind));
  });
  const [{ embedding, words: count, known }] = found;
  const read = { kind: query.kind, title: recipe.title, ingredients: recipe.ingredients, words: count, known_words: known };
  return { embedding, read, named };
}
