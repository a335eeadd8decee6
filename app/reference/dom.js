// Builds nodes from text only: nothing in the document or in a reply becomes markup.

// make("a", { href: "/" }, "text", node …) → an element. Attributes that are null or false are left out.
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

// A description with its `code` between backticks as <code>.
export const prose = (text = "") => text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
