/** What a role can permit. */
export const PERMISSIONS: readonly string[] = [
  "pull", "push", "delete", "quarantine/read", "catalog/read", "clearance/read", "policy/read", "policy/write", "exception/request", "exception/approve", "advisory/import", "access/read", "access/write", "ledger/read",
];
