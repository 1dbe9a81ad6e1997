// The Postman collection from the OpenAPI document: `node build.js < openapi.json`.
"use strict";

const { readFileSync } = require("node:fs");
const { convertV2 } = require("openapi-to-postmanv2");
const flows = require("./flows.js");

const OPTIONS = {
  folderStrategy: "Tags",
  parametersResolution: "Example",
  requestNameSource: "Fallback",
  includeAuthInfoInExample: false,
};
// What every request may meet makes no example beside each of them.
const COMMON = new Set([400, 401, 403, 408, 413, 415, 429, 431, 500, 503]);
// Of an order that is as it was, and of traces that are somebody else's.
const UNSENT = new Set(["If-Match", "If-None-Match", "traceparent"]);
// The flows leave what these name behind.
const KNOWN = { order_id: "{{orderId}}", command_id: "{{commandId}}", sku: "{{sku}}" };

const HELPERS = {
  json: "const json = () => pm.response.json();",
  problem: `const problem = (status, slug, pointer) => pm.test(\`it is refused: \${slug}\`, () => {
  pm.response.to.have.status(status);
  pm.expect(pm.response.headers.get("Content-Type")).to.eql("application/problem+json");
  const document = pm.response.json();
  pm.expect(document).to.include({ type: \`/problems/\${slug}\`, status });
  pm.expect(document.detail).to.be.a("string").and.not.empty;
  if (pointer) pm.expect(document.errors.map((error) => error.pointer)).to.eql([pointer]);
});`,
};

function script(listen, lines) {
  return { listen, script: { type: "text/javascript", exec: lines } };
}

// The lines of a method's body, less its indentation, below the helpers that it uses.
function source(method) {
  const text = method.toString();
  const lines = text.slice(text.indexOf("{") + 1, text.lastIndexOf("}")).split("\n").filter((line) => line.trim());
  const indent = Math.min(...lines.map((line) => line.search(/\S/)));
  const used = Object.keys(HELPERS).filter((name) => text.includes(`${name}(`));
  return [...used.flatMap((name) => HELPERS[name].split("\n")), ...lines.map((line) => line.slice(indent).trimEnd())];
}

function step({ name, method, path, headers = {}, body, raw, keyless, before, test }) {
  const all = { ...headers, ...(body || raw ? { "Content-Type": "application/json" } : {}) };
  const request = {
    method,
    url: `{{baseUrl}}${path}`,
    header: Object.entries(all).map(([key, value]) => ({ key, value })),
  };
  if (body || raw) request.body = { mode: "raw", raw: raw ?? JSON.stringify(body, null, 2) };
  if (keyless) request.auth = { type: "noauth" };
  const event = [script("test", source(test))];
  if (before) event.unshift(script("prerequest", source(before)));
  return { name, event, request };
}

// A request of the document, made to run after the flows, and tested against what is documented.
function asked({ name, request, response }) {
  delete request.auth;
  for (const header of request.header) {
    if (header.key === "Idempotency-Key") header.value = "{{$guid}}";
    if (UNSENT.has(header.key)) header.disabled = true;
  }
  for (const variable of request.url.variable) variable.value = KNOWN[variable.key];
  for (const query of request.url.query) query.disabled = !["limit", "prefix"].includes(query.key);
  if (request.body?.raw) request.body.raw = request.body.raw.replaceAll("MUG-01", KNOWN.sku);
  else delete request.body;
  const codes = [...new Set(response.map((one) => one.code))].filter((code) => !COMMON.has(code));
  const test = [
    'pm.test("it is answered as documented", () => {',
    `  pm.expect(pm.response.code).to.be.oneOf(${JSON.stringify(codes)});`,
    "});",
  ];
  const shown = response.filter((one) => !COMMON.has(one.code)).map(saved);
  return { name, event: [script("test", test)], request, response: shown };
}

function saved({ name, originalRequest, status, code, header, body, _postman_previewlanguage }) {
  const headers = header.filter((one) => one.value).map(({ key, value }) => ({ key, value }));
  const { method, url } = originalRequest;
  return { name, originalRequest: { method, url }, status, code, header: headers, body, _postman_previewlanguage };
}

convertV2({ type: "string", data: readFileSync(0, "utf8") }, OPTIONS, (error, converted) => {
  if (error || !converted.result) throw error ?? new Error(converted.reason);
  const { info, item } = converted.output[0].data;
  const collection = {
    info: { name: info.name, description: info.description.content, schema: info.schema },
    auth: { type: "bearer", bearer: [{ key: "token", value: "{{apiKey}}", type: "string" }] },
    variable: Object.entries({ sku: "MUG-01", orderId: "", commandId: "" }).map(([key, value]) => ({ key, value })),
    item: [
      { name: "Flows", description: "To be run in order. They make a product of their own.", item: flows.map(step) },
      ...item.map((folder) => ({ name: folder.name, description: folder.description, item: folder.item.map(asked) })),
    ],
  };
  process.stdout.write(`${JSON.stringify(collection, null, 1)}\n`);
});
