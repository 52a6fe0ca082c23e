// Where the page's answers come from: here the service that serves it. `kfood site` puts another file in this one's place,
// which answers in the browser.

/** What can be searched, and by what: see /health. */
export const about = () => asked("health");

/** The ingredients [{name}] that recipes have, the most frequent first, of those with a word that begins with `start`. */
export const names = (start, limit) => asked(`ingredients?limit=${limit}&start=${encodeURIComponent(start)}`);

/**
 * Searches.
 * @param query {kind: "photo" | "recipe" | "text", value: File or string}
 * @param wanted {k, with: [name], without: [name], explain}
 * @param signal of an AbortController
 * @param say takes what is being waited for, as text; a service does not tell
 * @returns what was found: see /search
 */
export async function search(query, wanted, signal) {
  const form = new FormData();
  form.append(query.kind, query.value);
  form.append("k", wanted.k);
  for (const how of ["with", "without"]) for (const name of wanted[how]) form.append(how, name);
  if (wanted.explain) form.append("explain", "true");
  return asked("search", { method: "POST", body: form, signal });
}

async function asked(url, options) {
  const answer = await fetch(url, options).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The service does not answer. Is it still running?");
  });
  const content = await answer.json().catch(() => ({ detail: `The service answered ${answer.status}.` }));
  if (!answer.ok) throw new Error(content.detail);
  return content;
}
