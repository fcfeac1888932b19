// What the server answers, as docs/reference/openapi.json describes it.

import { language } from "./text/language.svelte";

export type Verdict = "allowed" | "blocked" | "pending";
export type Severity = "critical" | "high" | "medium" | "low" | "negligible" | "unknown";
export type Severities = Record<Severity, number>;
export type State = "fixed" | "affected" | "will_not_fix" | "fix_deferred" | "end_of_life" | "under_investigation";

export interface Actor { kind: string; name: string; method: string; principal?: string; source?: string }
export interface ImageRow { repository: string; tag: string; digest: string; media_type: string; pushed_at: string; pushed_by: string; quarantined: boolean; verdict: Verdict }
export interface Layer { index: number; digest: string; media_type: string; bytes: number; diff_id: string | null; created_by: string | null }
export interface ImagePage {
  repository: string; digest: string; image: string; media_type: string | null;
  platforms: { platform: string | null; digest: string }[];
  content_id: string | null; bytes: number | null; layers: Layer[];
  tags: { tag: string; pushed_at: string; pushed_by: string }[];
}
export type Counts = Severities & { fixable: number; exploited: number; covered?: boolean };
export interface Mount { kind: string; source: string; target: string; writable: boolean }
export interface Settings {
  privileged: boolean; user: string; host_network: boolean; host_pid: boolean; host_ipc: boolean;
  added_capabilities: string[]; dropped_capabilities: string[]; mounts: Mount[]; devices: string[];
  read_only_root: boolean; no_new_privileges: boolean; seccomp_unconfined: boolean; apparmor_unconfined: boolean; environment: string[];
}
export interface ContainerImage {
  reported: string; reported_id: string; mapping: string; reason: string | null;
  content_id: string | null; repository: string | null; digest: string | null;
}
type Known = number | null;
/** Of the last ten seconds; thousandths of one processor, or of the interval. */
export interface Usage {
  at: string; cpu_millis: Known; cpu_peak_millis: Known; throttled_millis: Known; memory_bytes: Known; memory_limit_bytes: Known; oom_kills: Known;
  cpu_waited_millis: Known; memory_waited_millis: Known; io_waited_millis: Known; read_bytes_per_second: Known; written_bytes_per_second: Known;
  received_bytes_per_second: Known; sent_bytes_per_second: Known;
}
export interface UsageSeries { at: string[]; cpu_millis: Known[]; memory_bytes: Known[] }
export interface ContainerRow {
  host: string; runtime: string; id: string; name: string; image: ContainerImage; state: string; presence: "live" | "stopped" | "gone";
  created_at: string | null; started_at: string | null; finished_at: string | null; exit_code: number | null;
  verdict: Verdict | null; purpose: string | null; findings: Counts | null; received_at: string; weak: number; usage: Usage | null;
}
export interface Containers { containers: ContainerRow[]; next: string | null; unknown: number }
export interface HistoryRow { number: number; container: string | null; at: string; received_at: string; what: { happening: string; exit_code?: number | null; from?: string | null; reason?: string } }
export interface Weakness { setting: string; message: string }
export interface WorstFinding { id: string; severity: Severity; source: string; version: string; state: State; fixed_version: string | null; kev: boolean }
export interface ContainerPage extends ContainerRow {
  gone_at: string | null; host_facts: Host | null; settings: Settings; weaknesses: Weakness[]; labels: Record<string, string>; cut: boolean;
  started_by: { by: string; name: string; source: string } | null; clearance: Check | null;
  lineage: { tags: { tag: string; pushed_at: string; pushed_by: string }[]; platform: string | null; config: string | null; layers: { index: number; diff_id: string; created_by: string | null }[] | null } | null;
  worst: WorstFinding[] | null; history: HistoryRow[]; usage_series: UsageSeries | null;
}
export interface Host {
  id: string; name: string; joined_at: string; heard_at: string | null; engine: string | null; kernel: string | null; platform: string | null;
  processors: number | null; memory_bytes: number | null; agent: string | null; wrong_clock: boolean; running: number; stopped: number;
}
export interface TagRow { repository: string; tag: string; digest: string }
export interface Reason { rule: string; result: "pass" | "fail" | "indeterminate"; mode: "enforce" | "warn" | "audit"; message: string; hint: string | null; evidence: string[] }
export interface Check {
  verdict: Verdict; policies: { name: string; version: number; hash: string }[]; reasons: Reason[];
  recorded: boolean; decided_at?: string; valid_until?: string | null;
}
export interface Remedy { text: string; command: string | null }
export interface Group {
  source: string; version: string; type: string; fixed_version: string | null; state: State;
  findings: number; exploited: number; severities: Severities; packages: string[]; layer: number | null; remedy: Remedy;
}
export interface LayerFindings { index: number; created_by: string | null; packages: number; findings: number; fixable: number; severities: Severities }
export interface Remedies {
  total: number; fixable: number; packages: number; groups: Group[]; layers: LayerFindings[];
  release: string | null; covered: boolean;
  coverage: { uncovered: string[]; unowned_binaries: number; unreadable: string[] };
  problems: { code: string; layer: number | null; message: string }[];
}
export interface Finding {
  id: string; aliases: string[]; summary: string; severity: Severity; severity_source: string; source: string; version: string;
  state: State; fixed_version: string | null; kev: boolean; epss: number | null; packages: string[]; layer: number | null;
  references: string[]; remedy: Remedy;
}
export interface Findings { total: number; findings: Finding[]; next: string | null }
export interface Feed { feed: string; records: number; newest: string | null; checked_at: string; imported_at: string; covers: string[]; licence: string | null; generation: number }
export interface Advisories { generation: number; revision: number; index_hash: string; state: "settled" | "importing"; feeds: Feed[] }
export interface PastImport { revision: number; actor: string; started_at: string; finished_at: string | null; outcome: string; report: Record<string, unknown> | null }
export interface Overview {
  images: { total: number; allowed: number; blocked: number; pending: number; complete: boolean };
  advisories: { state: "settled" | "importing"; feeds: Pick<Feed, "feed" | "records" | "newest" | "checked_at">[] } | null;
}
export interface Policy { name: string; version: number; hash: string; applied_at: string; applied_by: string }
export interface Exception {
  exception: {
    id: string; scope: { repositories: string; rule: string; advisory?: string | null; package?: string | null };
    owner: string; reason: string; requested_by: string; approved_by: string | null; created_at: string; expires_at: string;
  };
  state: "requested" | "approved" | "revoked"; uses: number;
}
export interface RemedyRow { source: string; version: string; type: string; fixed_version: string | null; state: State; vulnerabilities: number; exploited: number; severities: Severities; images: number }
export interface VulnerabilityRow { id: string; aliases: string[]; summary: string; severity: Severity; exploited: boolean; epss: number | null; fixable: boolean; sources: string[]; images: number }
export interface Rows<T> { total: number; rows: T[]; next: number | null; complete: boolean; unknown: number }
export interface LedgerRow { index: number; record: { id: string; at: string; actor: Actor; action: string; object: string; details?: unknown } }
export interface LedgerReport { size: number; broken: string[]; key: string }
export interface LedgerProof { index: number; leaf: string; path: string[]; checkpoint: string; key: string }
export interface Principal { id: string; name: string; kind: string; disabled: boolean; created_at: string }
export interface Credential { id: string; kind: string; label: string; created_at: string; expires_at: string | null }
export interface Assignment { id: string; role: string; scope: string; created_at: string }
export interface PrincipalShown { principal: Principal; assignments: Assignment[]; credentials: Credential[] }
export interface Role { id: string; name: string; description: string; permissions: string[]; built_in: boolean }

/** What the caller may do, beside pulling. */
export type Act = "push" | "delete" | "metadata/read" | "policy/write";
export interface RepositoryRow {
  repository: string; tags: number; manifests: number; bytes: number; pushed_at: string | null; complete: boolean;
  rules: { prefix: string; promotion_only: boolean; quarantine: boolean; immutable: boolean; quota: boolean }[]; retention: string | null; cache: string | null; may: Act[];
}
export interface RepositoryPage { repositories: RepositoryRow[]; next: string | null; may: Act[] }
export interface RepositoryTag {
  tag: string; digest: string; media_type: string; manifest_bytes: number; set_at: string; last_pull: string | null;
  locked: boolean; immutable: boolean; quarantined: boolean; verdict: Verdict;
}
export interface TagPage { repository: string; tags: RepositoryTag[]; next: string | null }
export interface ReferrerRow {
  digest: string; media_type: string; artifact_type: string | null; manifest_bytes: number; annotations: Record<string, string>; cut: boolean;
  pushed_at: string | null; pushed_by: string | null; has_referrers: boolean;
}
export interface ReferrerPage { referrers: ReferrerRow[]; next: string | null }
export interface Quota { bytes?: number; tags?: number; repositories?: number }
export interface RepositoryRules { prefix: string; promotion_only?: boolean; quarantine?: boolean; immutable?: string[]; quota?: Quota }
export interface Cache {
  prefix: string; upstream: string; remote_prefix: string | null; ns: string[]; realms: string[]; username: string | null; check_seconds: number; networks: string[];
  mirrors: string[]; mirror_seconds: number; mirrored: { mirror: string; due: string; looked_at: string | null; tags: number | null; error: string | null }[];
}
export interface Replication {
  name: string; prefix: string; to: string; remote_prefix: string | null; tags: string[]; deletions: boolean; realms: string[]; username: string | null; networks: string[];
  waiting: number; failed: number; seeding: boolean;
}
export interface QuotaUsage { prefix: string; used: { bytes: number; tags: number; repositories: number }; quota: Quota }
export interface RetentionRules {
  keep_last?: number; keep_pulled_days?: number; keep_tags?: string[]; remove_older_than_days?: number; untagged_days?: number; keep_untagged?: boolean;
}
export interface Retention { prefix: string; rules: RetentionRules; set_at: string; set_by: string }
export interface RetentionRow { tag: string; digest: string; set_at: string; last_pull: string | null; action: "keep" | "remove"; rule: string }
export interface DeletedRow {
  repository: string; tag: string | null; digest: string; media_type: string | null; deleted_at: string; deleted_by: string; reason: string; restorable_until: string;
}
export interface Restored { repository: string; digest: string; tags: string[] }

/** A refusal, or a server that did not answer. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string | undefined,
  ) {
    super(message);
  }
}

export type Query = Record<string, string | number | boolean | undefined>;

function address(path: string, query: Query): string {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return `/api/v1${path}${text === "" ? "" : `?${text}`}`;
}

async function ask(method: string, path: string, query: Query, body: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json", "accept-language": language.word };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    const init: RequestInit = { method, headers, credentials: "same-origin", cache: "no-store" };
    if (body !== undefined) init.body = JSON.stringify(body);
    if (signal) init.signal = signal;
    response = await fetch(address(path, query), init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, "UNREACHABLE", "", undefined);
  }
  if (response.ok) return response;
  const said = (await response.json().catch(() => null)) as { error?: { code: string; message: string; hint?: string } } | null;
  throw new Refused(response.status, said?.error?.code ?? "", said?.error?.message ?? response.statusText, said?.error?.hint);
}

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await ask("GET", path, query, undefined, signal)).json() as Promise<T>;
}

/** A page of an array, and whether another one follows. */
export async function getPage<T>(path: string, query: Query, signal?: AbortSignal): Promise<{ rows: T[]; next: URLSearchParams | null }> {
  const response = await ask("GET", path, query, undefined, signal);
  const target = /<[^>?]*\?([^>]*)>; rel="next"/.exec(response.headers.get("link") ?? "")?.[1];
  return { rows: (await response.json()) as T[], next: target === undefined ? null : new URLSearchParams(target) };
}

export async function post<T>(path: string, body: unknown = undefined, signal?: AbortSignal): Promise<T> {
  return (await ask("POST", path, {}, body, signal)).json() as Promise<T>;
}

export async function remove(path: string): Promise<void> {
  await ask("DELETE", path, {}, undefined);
}
