import { defineConfig } from "vite";
import { svelte } from "@sveltejs/vite-plugin-svelte";

// One script and one style sheet, hashed, with nothing inline: the server's policy allows no other.
export default defineConfig({
  plugins: [svelte({ compilerOptions: { runes: true } })],
  build: {
    outDir: process.env.CONSOLE_OUT ?? "dist",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
});
