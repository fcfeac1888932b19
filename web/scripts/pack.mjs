// After the build: the compressed forms of every file, and the table that the server compiles in.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const TYPES = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

const out = process.argv[2] ?? "dist";

function files(folder) {
  return readdirSync(folder).sort().flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

const rows = [];
for (const path of files(out).filter((path) => !/\.(br|gz|rs)$/.test(path))) {
  // Every text file of the tree ends with one newline.
  const bytes = Buffer.from(readFileSync(path, "utf8").trimEnd() + "\n");
  writeFileSync(path, bytes);
  const type = TYPES[path.split(".").pop()];
  if (!type) throw new Error(`${path} has no media type`);
  const brotli = brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_LGWIN]: 22,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });
  writeFileSync(`${path}.br`, brotli);
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  const name = relative(out, path);
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 32);
  const file = (ending) => `include_bytes!("${name}${ending}")`;
  rows.push(
    `    Asset {\n        path: "/${name}",\n        media_type: "${type}",\n        etag: "\\"${hash}\\"",\n` +
      `        identity: ${file("")},\n        brotli: ${file(".br")},\n        gzip: ${file(".gz")},\n    },`,
  );
  console.log(`${name}  ${bytes.length} bytes, ${brotli.length} in brotli`);
}
writeFileSync(join(out, "table.rs"), `const ASSETS: &[Asset] = &[\n${rows.join("\n")}\n];\n`);
