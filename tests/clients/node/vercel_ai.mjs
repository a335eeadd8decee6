// Vercel's AI SDK, with its providers for OpenAI and for compatible servers.

import assert from "node:assert";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { experimental_generateImage, generateText, jsonSchema, Output, streamText } from "ai";
import { BASE, IGNORED, PICTURE, describes, isPng, refused, run, versionOf } from "./harness.mjs";

const openai = createOpenAI({ baseURL: BASE, apiKey: "none" });
const compatible = createOpenAICompatible({ name: "rudolph", baseURL: BASE, apiKey: "none" });
const messages = [
  {
    role: "user",
    content: [
      { type: "text", text: "Describe the image in detail." },
      { type: "image", image: PICTURE },
    ],
  },
];
const options = { messages, maxRetries: 0 };

async function draw() {
  const model = compatible.imageModel("rudolph");
  const { images } = await experimental_generateImage({ model, prompt: "клубника", size: "1024x1024", n: 2 });
  assert.equal(images.length, 2);
  isPng(images[0].uint8Array);
}

async function chat() {
  describes((await generateText({ model: compatible("rudolph"), ...options })).text);
  return IGNORED;
}

async function chatStream() {
  let text = "";
  for await (const piece of streamText({ model: compatible("rudolph"), ...options }).textStream) text += piece;
  describes(text);
}

async function responses() {
  describes((await generateText({ model: openai("rudolph"), ...options })).text);
  return IGNORED;
}

async function responsesStream() {
  let text = "";
  for await (const piece of streamText({ model: openai("rudolph"), ...options }).textStream) text += piece;
  describes(text);
}

async function imageTool() {
  const tools = { image_generation: openai.tools.imageGeneration({ outputFormat: "webp" }) };
  const reply = await generateText({ model: openai("rudolph"), prompt: "клубника", tools, maxRetries: 0 });
  assert.equal(reply.staticToolResults[0].output.result.slice(0, 4), "UklG");
}

async function complete() {
  const { text } = await generateText({ model: compatible.completionModel("rudolph"), prompt: "морда" });
  assert.ok(!text.includes("user"));
}

const structured = () =>
  refused(() => {
    const schema = jsonSchema({ type: "object", properties: { sky: { type: "string" } } });
    return generateText({ model: openai("rudolph"), output: Output.object({ schema }), ...options });
  }, "unsupported_parameter");

await run(`ai ${versionOf("ai")}, @ai-sdk/openai ${versionOf("@ai-sdk/openai")}`, {
  "generateImage with size": draw,
  "generateText, text and image": chat,
  "streamText": chatStream,
  "generateText with the Responses API": responses,
  "streamText with the Responses API": responsesStream,
  "the tool imageGeneration": imageTool,
  "a completion model": complete,
  "output of a schema": structured,
});
