// Fails unless the committed bundle is what the sources build, byte for byte. Compressed files are
// compared by what they hold: another release of Node may pack the same bytes otherwise.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";

function contents(folder) {
  const all = new Map();
  const walk = (at) => {
    for (const name of readdirSync(at)) {
      const path = join(at, name);
      if (statSync(path).isDirectory()) walk(path);
      else all.set(relative(folder, path), unpacked(path));
    }
  };
  walk(folder);
  return all;
}

function unpacked(path) {
  const bytes = readFileSync(path);
  if (path.endsWith(".br")) return brotliDecompressSync(bytes);
  if (path.endsWith(".gz")) return gunzipSync(bytes);
  return bytes;
}

const out = mkdtempSync(join(tmpdir(), "console-"));
try {
  const env = { ...process.env, CONSOLE_OUT: out };
  const vite = ["node_modules/vite/bin/vite.js", "build", "--logLevel", "warn"];
  execFileSync(process.execPath, vite, { env, stdio: "inherit" });
  execFileSync(process.execPath, ["scripts/pack.mjs", out], { stdio: "ignore" });
  const built = contents(out);
  const committed = contents("dist");
  const names = new Set([...built.keys(), ...committed.keys()]);
  const differing = [...names].filter((name) => {
    const lhs = built.get(name);
    const rhs = committed.get(name);
    return !lhs || !rhs || !lhs.equals(rhs);
  });
  if (differing.length > 0) {
    console.error(`web/dist is not what web/ builds: ${differing.sort().join(", ")}; run \`cargo xtask web\``);
    process.exitCode = 1;
  } else {
    console.log(`web/dist is what web/ builds: ${names.size} files`);
  }
} finally {
  rmSync(out, { recursive: true });
}
