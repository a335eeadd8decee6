// A tab and the texts of its form as the fragment of an address: #draw?prompt=кошка&seed=7. Images are not part of it.

// The address of the form as it is. Fields with their default value are left out.
export function linkOf(tab, values, form) {
  const differs = ([name, value]) => form.elements[name]?.defaultValue !== value;
  const query = new URLSearchParams(Object.entries(values).filter(differs)).toString();
  return `${location.origin}${location.pathname}#${tab}${query && `?${query}`}`;
}

// {name, values} of a fragment; `names` are the known tabs. An unknown tab is the first one.
export function parseLink(fragment, names) {
  const [name, query = ""] = fragment.slice(1).split("?");
  return { name: names.includes(name) ? name : names[0], values: Object.fromEntries(new URLSearchParams(query)) };
}
