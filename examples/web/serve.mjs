// Serves the built page: node serve.mjs ACCOUNTS [PORT]
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const [accounts, port = "3000"] = process.argv.slice(2);
const file = (name) => readFileSync(new URL(name, import.meta.url), "utf8");
const files = {
  "/": ["text/html; charset=utf-8", file("index.html").replace("ACCOUNTS", accounts)],
  "/main.js": ["text/javascript; charset=utf-8", file("dist/main.js")],
};

const server = createServer((request, response) => {
  const [type, content] = files[request.url] ?? ["text/plain", null];
  response.writeHead(content === null ? 404 : 200, { "content-type": type });
  response.end(content ?? "there is nothing here");
});

server.listen(Number(port), "127.0.0.1", () => console.log(`http://localhost:${server.address().port}`));
