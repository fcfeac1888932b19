// Artifact types that tools are known by: what it is, and whose.

import type { ReferrerRow } from "./api";

export type ArtifactKind = "signature" | "sbom" | "attestation" | "vex" | "report" | "artifact";

const KNOWN: readonly [type: RegExp, kind: ArtifactKind, tool: string][] = [
  [/^application\/vnd\.dev\.cosign\.(artifact\.sig|simplesigning)\b/, "signature", "cosign"],
  [/^application\/vnd\.dev\.cosign\.artifact\.sbom\b/, "sbom", "cosign"],
  [/^application\/vnd\.dev\.cosign\.artifact\.att\b/, "attestation", "cosign"],
  [/^application\/vnd\.dev\.sigstore\.bundle\b/, "signature", "Sigstore"],
  [/^application\/vnd\.cncf\.notary\.signature$/, "signature", "Notation"],
  [/^(application\/spdx\+json|text\/spdx(\+|$))/, "sbom", "SPDX"],
  [/^application\/vnd\.cyclonedx\b/, "sbom", "CycloneDX"],
  [/^application\/vnd\.syft\b/, "sbom", "Syft"],
  [/^application\/vnd\.in-toto\b/, "attestation", "in-toto"],
  [/^application\/vnd\.dsse\.envelope\b/, "attestation", "DSSE"],
  [/^application\/(vnd\.openvex\b|openvex\b)/, "vex", "OpenVEX"],
  [/^application\/sarif\+json$/, "report", "SARIF"],
];

/** What a referrer is, as far as its type says; a tool's own name is the same in every language. */
export function artifactOf(row: ReferrerRow): { kind: ArtifactKind; tool: string } {
  const type = row.artifact_type ?? "";
  const found = KNOWN.find(([pattern]) => pattern.test(type));
  if (!found) return { kind: "artifact", tool: "" };
  const [, kind, tool] = found;
  // A Sigstore bundle holds a signature, or a signed statement.
  if (row.annotations["dev.sigstore.bundle.content"] === "dsse-envelope") return { kind: "attestation", tool };
  return { kind, tool };
}
