//! The challenge of another registry, what a token request asks for, lines of scope maps, and scopes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy_access::{DockerScope, MapEntry, limit};
use seaworthy_model::{Prefix, Scope};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    seaworthy_registry::fuzzing::challenge(text);
    let asked = DockerScope::parse_all(text.lines());
    assert!(asked.len() <= limit::TOKEN_SCOPES);
    for scope in &asked {
        assert!(matches!(scope.access.kind.as_str(), "repository" | "registry"));
        assert!(scope.access.actions.iter().all(|action| !action.is_empty() && !action.contains([',', ' '])));
        // What is shown in a token reads the same.
        let line = format!("{}:{}:{}", scope.access.kind, scope.access.name, scope.access.actions.join(","));
        assert_eq!(
            DockerScope::parse_all(std::iter::once(line.as_str())).first().map(|it| &it.access),
            Some(&scope.access)
        );
    }
    if let Ok(entry) = text.parse::<MapEntry>() {
        assert_eq!(entry.to_string(), text);
    }
    if let Ok(scope) = text.parse::<Scope>() {
        assert!(scope.covers(&scope) && Scope::root().covers(&scope));
    }
    if let Ok(prefix) = text.parse::<Prefix>() {
        assert_eq!(prefix.to_string(), text);
        assert!(prefix.scope().is_ok());
    }
});
