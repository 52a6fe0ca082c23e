// Recipes as people paste or save them → {title, ingredients, instructions}: as written, JSON of any program that
// kfood/data/recipe_fields.py knows, a page with schema.org's JSON; and these, or words, as a model reads them
// (kfood/search/queries.py).

import { cleanName } from "./ingredients.js";

const DEEPEST = 8;
const HEADINGS = [
  ["ingredients", /^(?:the )?ingredients(?: list)?[^\p{L}\p{N}_]*$/iu],
  ["instructions", /^(?:instructions?|directions?|method|preparation|steps?|how to (?:make|cook).*)[^\p{L}\p{N}_]*$/iu],
];
const BULLET = /^[-*•·▪◦–—☐▢]\s+/;
const STEP = /^(?:step\s+)?\p{Nd}{1,2}[.):]\s+/iu;
const AMOUNT = /^(?:\p{Nd}|[¼½¾⅓⅔⅛⅜⅝⅞]|an? (?:pinch|handful|few|dash)(?![\p{L}\p{N}_]))/u;
const LONGEST_INGREDIENT = 80;
const TEXTS = ["text", "instruction", "originalText", "original", "display", "step", "description"];

/** Free text as a recipe of which little is known. */
export function textAsRecipe(text, spec) {
  const parts = text.split(/[,;\n]/).map((part) => part.trim()).filter(Boolean);
  const titled = Boolean(spec.title_words);
  return {
    title: text,
    ingredients: parts.length > 1 || !titled ? parts : [],
    instructions: titled ? [] : [text],
  };
}

/** A recipe as a model reads it: lines, or clean names where it knows whole names. */
export function recipeAsQuery({ title, ingredients, instructions, names = [] }, spec, tables) {
  if (spec.ingredient_unit !== "name") return { title, ingredients, instructions };
  const own = ingredients.map((line) => cleanName(line, tables)).filter(Boolean);
  return { title, ingredients: names.length ? names : own, instructions };
}

/**
 * The recipe of a file or of what was pasted.
 * @param text its content
 * @param tables {fields, of_ingredient}: names of fields
 */
export function readRecipe(text, tables) {
  const start = text.trimStart()[0];
  if (start === "{" || start === "[") return only([parsed(text, "JSON")], tables);
  if (start === "<") {
    const page = new DOMParser().parseFromString(text, "text/html");
    const scripts = [...page.querySelectorAll('script[type="application/ld+json"]')];
    return only(scripts.map((script) => parsed(script.textContent, "JSON in the page")), tables);
  }
  const found = text.includes("\0") ? null : plainRecipe(text, tables);
  if (found?.title || found?.ingredients.length || found?.instructions.length) return found;
  throw new Error("recipe: expected one as people write it, JSON, or a page with schema.org's JSON, received none of these.");
}

function parsed(text, what) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`recipe: expected ${what}, received what is none (${error.message}).`);
  }
}

function only(contents, tables) {
  const found = contents.flatMap((content) => [...recipesIn(content, tables)]);
  if (found.length > 1) throw new Error("recipe: expected one recipe, received several.");
  const recipe = isObject(found[0]) ? readFields(found[0], tables) : null;
  if (recipe && (recipe.title || recipe.ingredients.length || recipe.instructions.length)) return recipe;
  throw new Error("recipe: expected a recipe, received none (no title, ingredients or instructions).");
}

/** A recipe as people paste it: a title, lines of ingredients, and what is to be done. */
export function plainRecipe(text, tables) {
  let [title, section] = ["", ""];
  const found = { ingredients: [], instructions: [] };
  for (const raw of text.split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/).map((each) => each.trim())) {
    const heading = HEADINGS.find(([, pattern]) => pattern.test(raw))?.[0];
    if (heading || !raw) {
      section = heading ?? section;
      continue;
    }
    const line = raw.replace(BULLET, "");
    const numbered = STEP.test(line);
    const amount = !numbered && [...line].length <= LONGEST_INGREDIENT && (line !== raw || AMOUNT.test(line));
    if (!title && !section && !amount && !numbered) title = line;
    else found[section || (amount ? "ingredients" : "instructions")].push(line.replace(STEP, ""));
  }
  const steps = found.instructions;
  return {
    title: clean(title),
    ingredients: lines(found.ingredients, false, tables),
    instructions: lines(steps.length === 1 ? steps[0] : steps, true, tables),
  };
}

// Fields of JSON

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const own = (content, key) => (Object.hasOwn(content, key) ? content[key] : undefined);
const isEmpty = (value) =>
  value == null || value === "" || (typeof value === "object" && !Object.keys(value).length);

function find(content, { fields }) {
  const byLetters = new Map();
  for (const key of Object.keys(content)) {
    const letters = key.toLowerCase().replace(/[^a-z0-9]/g, "");
    if (!byLetters.has(letters)) byLetters.set(letters, key);
  }
  const found = {};
  for (const [what, names] of Object.entries(fields)) {
    const present = names.map((name) => byLetters.get(name)).filter((key) => key !== undefined);
    const key = present.find((each) => !isEmpty(content[each])) ?? present[0];
    if (key !== undefined) found[what] = key;
  }
  return found;
}

function looksLikeRecipe(content, tables) {
  if (!isObject(content)) return false;
  if (content["@type"] != null) return [content["@type"]].flat().includes("Recipe");
  const found = find(content, tables);
  return "ingredients" in found || "instructions" in found || Object.keys(content).join() === "title";
}

function* recipesIn(content, tables, depth = 0) {
  if (depth > DEEPEST) return;
  if (Array.isArray(content)) {
    const meant = content.some((item) => looksLikeRecipe(item, tables));
    for (const item of content) {
      if (meant && !(isObject(item) && "@type" in item)) yield item;
      else yield* recipesIn(item, tables, depth + 1);
    }
  } else if (looksLikeRecipe(content, tables)) yield content;
  else if (isObject(content)) {
    for (const value of Object.values(content)) {
      if (looksLikeRecipe(value, tables) && !("@type" in value)) yield value;
      else if (value !== null && typeof value === "object") yield* recipesIn(value, tables, depth + 1);
    }
  }
}

function readFields(content, tables) {
  const found = find(content, tables);
  const at = (what) => (found[what] === undefined ? undefined : content[found[what]]);
  let ingredients = at("ingredients");
  if (ingredients == null && Array.isArray(at("instructions"))) {
    // Tandoor keeps them with the steps
    ingredients = at("instructions").flatMap((step) => (isObject(step) && Array.isArray(step.ingredients) ? step.ingredients : []));
  }
  return {
    title: clean(at("title")),
    ingredients: lines(ingredients, false, tables),
    instructions: lines(at("instructions"), true, tables),
    names: lines(at("names"), false, tables),
  };
}

/** Lines out of whatever holds them; those without a letter or number are left out. */
function lines(value, sentences, tables) {
  return [...linesOf(value, sentences, 0, tables)].filter((line) => /[\p{L}\p{N}]/u.test(line));
}

function* linesOf(value, sentences, depth, tables) {
  if (depth > DEEPEST) return;
  if (typeof value === "string") {
    const listed = literal(value);
    if (listed) return yield* linesOf(listed, sentences, depth + 1, tables);
    const text = value.replace(/<(?:br|\/?p|\/?li|\/?div)(?![\p{L}\p{N}_])[^<>]*>/giu, "\n");
    let cut = text.split(/[\r\n]+/).filter((line) => line.trim()).map(clean);
    if (sentences && cut.length === 1) cut = cut[0].split(/(?<=[.!?])\s+(?=[^a-z\s])/);
    yield* cut;
  } else if (Array.isArray(value)) {
    for (const item of value) {
      if (typeof item === "string") yield clean(item);
      else if (typeof item === "number") yield String(item);
      else yield* linesOf(item, sentences, depth + 1, tables);
    }
  } else if (isObject(value)) yield* linesOfObject(value, sentences, depth, tables);
}

/** An ingredient, a step, a section of steps, steps by their numbers, or groups by their names. */
function* linesOfObject(value, sentences, depth, tables) {
  const list = ["itemListElement", "steps", "items"].find((name) => Array.isArray(own(value, name)));
  if (list) return yield* linesOf(value[list], sentences, depth + 1, tables);
  const text = TEXTS.find((name) => typeof own(value, name) === "string" && value[name].trim());
  if (text) return yield* linesOf(value[text], false, depth + 1, tables);
  const parts = tables.of_ingredient.map((name) => own(value, name)).filter((part) => part != null && part !== "" && part !== 0).map(part);
  const note = clean(own(value, "note"));
  const keys = Object.keys(value);
  if (parts.length || note) {
    // Mealie's unparsed lines: the whole line is the note, beside a quantity of 1 that was never written.
    const unparsed = note && !["food", "name", "ingredient", "item", "unit"].some((name) => !isEmpty(own(value, name)));
    yield unparsed ? note : [...parts, note].filter(Boolean).join(" ");
  } else if (keys.length && keys.every((key) => /^\d{1,9}$/.test(key))) {
    yield* linesOf(keys.sort((a, b) => a - b).map((key) => value[key]), sentences, depth + 1, tables);
  } else {
    yield* linesOf(Object.values(value).filter((item) => item !== null && typeof item === "object"), sentences, depth + 1, tables);
  }
}

const part = (value) => {
  if (isObject(value)) return clean(own(value, "name") || own(value, "abbreviation"));
  return clean(typeof value === "number" ? String(value) : value);
};

function literal(text) {
  if (!/^\s*\[[^]*\]\s*$/.test(text)) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** One line of valid Unicode without tags and entities; "" for what is no text. */
function clean(text) {
  if (typeof text !== "string") return "";
  if (text.includes("&")) {
    const area = document.createElement("textarea");
    area.innerHTML = text.replaceAll("<", "&lt;");
    text = area.value;
  }
  return text.toWellFormed().replace(/<\/?[a-zA-Z][^<>]*>/g, " ").split(/\s+/).filter(Boolean).join(" ");
}
