// The language of the page, and its texts. `data-words` attributes and `say` use the keys of words_ru.js.
import { EN } from "./words_en.js";
import { RU } from "./words_ru.js";

const WORDS = { ru: RU, en: EN };
const listeners = [];
const stored = localStorage.getItem("language");
let language = Object.hasOwn(WORDS, stored) ? stored : navigator.language.startsWith("ru") ? "ru" : "en";

export const knows = (key) => Object.hasOwn(WORDS[language], key);

export const say = (key, values = {}) => WORDS[language][key].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

export const speaks = () => language;

// Fills the texts of all nodes below `root`.
export function translate(root = document) {
  for (const node of root.querySelectorAll("[data-words]")) node.textContent = say(node.dataset.words);
  for (const node of root.querySelectorAll("[data-words-label]")) node.setAttribute("aria-label", say(node.dataset.wordsLabel));
  for (const node of root.querySelectorAll("[data-words-placeholder]")) node.placeholder = say(node.dataset.wordsPlaceholder);
}

// Calls `listener` after each change of the language.
export const onLanguage = (listener) => listeners.push(listener);

export function switchLanguage() {
  language = language === "ru" ? "en" : "ru";
  localStorage.setItem("language", language);
  speak();
}

export function speak() {
  document.documentElement.lang = language;
  translate();
  document.getElementById("language").textContent = say("language");
  // The button names the other language.
  document.getElementById("language").lang = language === "ru" ? "en" : "ru";
  for (const listener of listeners) listener();
}
