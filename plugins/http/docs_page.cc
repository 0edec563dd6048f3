// SPDX-License-Identifier: Apache-2.0
#include "plugins/http/docs_page.h"

#include "plugins/common/base64.h"
#include "plugins/http/auth.h"

namespace csb::http {
namespace {

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--accent:#2463c9}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h1{margin:0}h2{margin:2rem 0 .5rem;text-transform:capitalize}
code,pre,textarea,input,select,button{font:14px/1.4 ui-monospace,monospace}
details{border:1px solid var(--line);border-radius:.4rem;margin:.4rem 0}
summary{cursor:pointer;padding:.5rem .7rem;display:flex;gap:.7rem;align-items:baseline;flex-wrap:wrap}
details[open]>summary{border-bottom:1px solid var(--line)}
.in{padding:.7rem}
.m{font-weight:700;min-width:4.2rem;color:var(--accent)}
.DELETE{color:#b3261e}.POST{color:#1b7f3b}
.say{opacity:.75;font-size:.9rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
td,th{border-bottom:1px solid var(--line);padding:.3rem .4rem;text-align:left;vertical-align:top}
input,textarea,select{width:100%;padding:.3rem;border:1px solid var(--line);border-radius:.3rem;background:transparent;color:inherit}
textarea{min-height:6rem}
button{padding:.35rem 1rem;border:1px solid var(--accent);border-radius:.3rem;background:var(--accent);color:#fff;cursor:pointer}
pre{background:var(--soft);padding:.6rem;border-radius:.3rem;overflow:auto;max-height:24rem;white-space:pre-wrap;overflow-wrap:anywhere}
.bar{display:flex;gap:.7rem;margin:.6rem 0;align-items:center}.bar label{flex:1}
)css";

constexpr std::string_view kScript = R"js(
"use strict";
const api = JSON.parse(document.getElementById("api").textContent);
const make = (tag, props, ...children) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
};
// Text with `code` in it.
const prose = text => {
  const e = make("span", {});
  (text || "").split("`").forEach((part, i) => e.append(i % 2 ? make("code", {textContent: part}) : part));
  return e;
};
const resolve = s => s && s.$ref ? api.components.schemas[s.$ref.split("/").pop()] : s || {};
const members = s => Object.assign({}, ...(resolve(s).allOf || []).map(members), resolve(s).properties);
const typeOf = s => [].concat(s.type || (s.enum ? "one of" : "any")).join(" or ") +
  (s.enum ? ": " + s.enum.join(", ") : "") + (s.default !== undefined ? " = " + JSON.stringify(s.default) : "");
const row = (...cells) => make("tr", {}, ...cells.map(c => make("td", {}, c)));
const example = (name, s) => {
  if (name === "code") return "print(1)";
  if (name === "command") return "echo hello";
  if (s.default !== undefined) return s.default;
  return {string: "", number: 1, integer: 1, boolean: false, array: [], object: {}}[[].concat(s.type)[0]];
};

const key = make("input", {type: "password", placeholder: "X-API-Key", autocomplete: "off", id: "key"});
const user = make("input", {value: "me", id: "user"});
document.getElementById("bar").append(make("label", {}, "API key", key), make("label", {}, "user_id", user));
document.getElementById("about").append(prose(api.info.description));
document.getElementById("version").textContent = api.info.version;

const tryOut = (method, path, op, box) => {
  const inputs = {};
  const table = make("table", {});
  for (const p of op.parameters || []) {
    if (p.name === "user_id") continue;
    const field = make("input", {placeholder: p.required ? "required" : ""});
    inputs[p.name] = [p, field];
    table.append(row(make("code", {textContent: p.name}), prose(p.in + ", " + typeOf(p.schema)), field));
  }
  let body;
  const json = op.requestBody && op.requestBody.content["application/json"];
  if (json) {
    const value = {};
    for (const name of json.schema.required || []) value[name] = example(name, json.schema.properties[name]);
    body = make("textarea", {value: JSON.stringify(value, null, 2)});
  }
  const types = Object.keys(op.responses["200"].content || {});
  const accept = make("select", {}, ...types.map(t => make("option", {textContent: t})));
  const out = make("pre", {hidden: true});
  const send = make("button", {textContent: "Send"});
  send.onclick = async () => {
    const headers = {Accept: accept.value};
    if (key.value) headers["X-API-Key"] = key.value;
    const query = new URLSearchParams();
    for (const [p, field] of Object.values(inputs)) {
      if (!field.value) continue;
      if (p.in === "query") query.set(p.name, field.value);
      else headers[p.name] = field.value;
    }
    if (body) headers["Content-Type"] = "application/json";
    const target = path.replace("{user_id}", encodeURIComponent(user.value)) + (query.size ? "?" + query : "");
    out.hidden = false;
    out.textContent = method + " " + target + "\n";
    try {
      const answer = await fetch(target, {method, headers, body: body && body.value});
      out.textContent += answer.status + " " + (answer.headers.get("content-type") || "") + "\n\n";
      const reader = answer.body.getReader(), decoder = new TextDecoder();
      let text = "";
      for (;;) {
        const {done, value} = await reader.read();
        if (done) break;
        const piece = decoder.decode(value, {stream: true});
        text += piece;
        out.textContent += piece;
      }
      if ((answer.headers.get("content-type") || "").startsWith("application/json"))
        out.textContent = out.textContent.slice(0, -text.length) + JSON.stringify(JSON.parse(text), null, 2);
    } catch (e) {
      out.textContent += e;
    }
  };
  box.append(table);
  if (body) box.append(body);
  box.append(make("div", {className: "bar"}, accept, send), out);
};

const sections = {};
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [name, op] of Object.entries(methods)) {
    const method = name.toUpperCase();
    const box = make("div", {className: "in"});
    const details = make("details", {id: op.operationId},
      make("summary", {}, make("span", {className: "m " + method, textContent: method}),
        make("code", {textContent: path}), make("span", {className: "say", textContent: op.summary})), box);
    details.addEventListener("toggle", () => {
      if (box.childNodes.length) return;
      if (op.description) box.append(make("p", {}, prose(op.description)));
      const json = op.requestBody && op.requestBody.content["application/json"];
      if (json) {
        const table = make("table", {}, make("caption", {className: "say", textContent: "Body"}));
        for (const [field, s] of Object.entries(json.schema.properties))
          table.append(row(make("code", {textContent: field}), typeOf(s),
            prose(((json.schema.required || []).includes(field) ? "Required. " : "") + (s.description || ""))));
        box.append(table);
      }
      const answers = make("table", {}, make("caption", {className: "say", textContent: "Answers"}));
      for (const [status, a] of Object.entries(op.responses)) answers.append(row(status, prose(a.description)));
      box.append(answers);
      const schema = ((op.responses["200"].content || {})["application/json"] || {}).schema;
      const fields = Object.entries(members(schema));
      if (fields.length) {
        const table = make("table", {}, make("caption", {className: "say", textContent: schema.$ref.split("/").pop()}));
        for (const [field, s] of fields)
          table.append(row(make("code", {textContent: field}), typeOf(s), prose(s.description)));
        box.append(table);
      }
      tryOut(method, path, op, box);
    });
    const tag = op.tags[0];
    if (!sections[tag]) {
      sections[tag] = make("section", {}, make("h2", {textContent: tag}));
      document.getElementById("operations").append(sections[tag]);
    }
    sections[tag].append(details);
  }
}
if (location.hash) {
  const wanted = document.getElementById(location.hash.slice(1));
  if (wanted) wanted.open = true;
}
)js";

std::string Hash(std::string_view text) {
  const Digest digest = Sha256(text);
  return "'sha256-" + base64::Encode({reinterpret_cast<const char*>(digest.data()), digest.size()}) + "'";
}

}  // namespace

DocsPage MakeDocsPage(std::string_view openapi) {
  DocsPage page;
  page.html.append(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>clara-sandbox "
      "API</title>\n"
      "<link rel=\"icon\" href=\"data:,\">\n<style>");
  page.html.append(kStyle);
  page.html.append(
      "</style>\n<h1>clara-sandbox API <small id=\"version\"></small></h1>\n<p id=\"about\"></p>\n"
      "<p class=\"say\">The machine's form: <a href=\"openapi.json\">openapi.json</a></p>\n"
      "<div class=\"bar\" id=\"bar\"></div>\n<main id=\"operations\"></main>\n"
      "<script type=\"application/json\" id=\"api\">");
  for (const char c : openapi) {
    if (c == '<')
      page.html.append("\\u003c");  // never ends the element it stands in
    else
      page.html += c;
  }
  page.html.append("</script>\n<script>").append(kScript).append("</script>\n</html>\n");
  page.fields =
      "Content-Security-Policy: default-src 'none'; style-src " + Hash(kStyle) + "; script-src " +
      Hash(kScript) +
      "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
      "Referrer-Policy: no-referrer\r\n";
  return page;
}

}  // namespace csb::http
