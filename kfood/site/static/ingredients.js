// Which recipes have an ingredient, as kfood/search/ingredients.py says, and the name in a line of ingredients, as
// kfood/data/ingredient_names.py says.

const AMOUNT = /^[\p{Nd}¼½¾⅐-⅞][\p{Nd}¼½¾⅐-⅞.,/⁄\-–—]*$/u;
const WITH_UNIT = /^[\p{Nd}¼½¾⅐-⅞][\p{Nd}¼½¾⅐-⅞.,/⁄\-–—]*?([a-z]+)$/u;
const ASIDE = /\([^()]*\)|\[[^[\]]*\]/g;
const PREPARATION =
  /\s*(?:[,;:*]|\s[-–—]\s|(?<![\p{L}\p{N}_])(?:to taste|for (?:garnish|serving|dusting)|as needed|optional)(?![\p{L}\p{N}_]))/u;
const LETTER = /\p{L}/u;

/** A lower-case word without its English plural. */
export function singular(word) {
  if ([...word].length <= 3 || /(?:ss|us|is)$/.test(word)) return word;
  if (word.endsWith("ies")) return word.slice(0, -3) + "y";
  if (/(?:oes|ches|shes|sses|xes|zes)$/.test(word)) return word.slice(0, -2);
  return word.endsWith("s") ? word.slice(0, -1) : word;
}

/** The words of a name or a line, each in the form in which it is compared: a Set. */
export function words(text) {
  const plain = text.normalize("NFKC").toLowerCase().replaceAll("ß", "ss").replaceAll("ς", "σ");
  return new Set((plain.match(/[\p{L}\p{Nl}\p{No}]+/gu) ?? []).map(singular));
}

/**
 * The name in an ingredient line.
 * @param line as written
 * @param tables {units, before}: words that belong to an amount
 */
export function cleanName(line, { units, before }) {
  let text = line.toLowerCase();
  for (let old; old !== text; ) [old, text] = [text, text.replace(ASIDE, " ")];
  const all = text.split(/\s+/).filter(Boolean);
  const start = all.findIndex((word) => !isAmount(word, units, before));
  const named = (parts) => strip(parts.join(" ").split(PREPARATION, 1)[0], " .'\"");
  const name = start < 0 ? "" : named(all.slice(start));
  return LETTER.test(name) ? name : named(all.filter((word) => LETTER.test(word)));
}

function isAmount(word, units, before) {
  const bare = strip(word, ".,:;*+~");
  if (!bare || units.includes(bare) || before.includes(bare) || /^[-–—&]$/.test(bare) || AMOUNT.test(bare)) return true;
  const glued = bare.match(WITH_UNIT);
  return glued !== null && units.includes(glued[1]);
}

function strip(text, signs) {
  let [start, end] = [0, text.length];
  while (start < end && signs.includes(text[start])) start++;
  while (start < end && signs.includes(text[end - 1])) end--;
  return text.slice(start, end);
}

const within = (some, all) => [...some].every((word) => all.has(word));

/** Which lines of a recipe name one of some ingredients, each a Set of words: booleans. */
export function shared(lines, names, tables) {
  const wanted = names.filter((name) => name.size);
  return lines.map((line) => {
    const [whole, own] = [words(line), words(cleanName(line, tables))];
    return wanted.some((name) => within(name, whole) || (own.size && within(own, name)));
  });
}

/** The ingredient lines of a gallery, to be asked by words. */
export class Ingredients {
  /** @param recipes of each its lines, in the order of the gallery */
  constructor(recipes) {
    this.lines = recipes;
    this.found = new Map();
  }

  /** Which recipes have an ingredient, of some words: booleans. */
  having(wanted) {
    const key = [...wanted].sort().join(" ");
    this.words ??= this.lines.map((lines) => lines.map(words));
    if (!this.found.has(key)) this.found.set(key, this.words.map((lines) => lines.some((line) => within(wanted, line))));
    return this.found.get(key);
  }

  /** Which recipes have all of some ingredients and none of others: booleans; null where none is named. */
  among(withNames, withoutNames) {
    if (!withNames.length && !withoutNames.length) return null;
    const has = withNames.map((name) => this.having(words(name)));
    const hasNot = withoutNames.map((name) => this.having(words(name)));
    return this.lines.map((_, row) => has.every((mask) => mask[row]) && !hasNot.some((mask) => mask[row]));
  }
}
