//! Locks: what may not be done with a repository, a manifest or a tag, whoever asks and whatever
//! their roles say. The names are those of ACR's `changeableAttributes`.
//!
//! A tag's locks and its manifest's are independent. Either of `writeEnabled: false` and
//! `deleteEnabled: false` keeps a thing from being deleted. Writes are checked in the transaction
//! that makes them: a lock that committed before it wins.

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{JsonError, check_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One thing that a lock can forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ability {
    Delete,
    Write,
    List,
    Read,
}

impl Ability {
    const ALL: [Self; 4] = [Self::Delete, Self::Write, Self::List, Self::Read];

    /// Its bit in the column `locks`. Stored: never changed.
    pub(crate) const fn bit(self) -> i64 {
        match self {
            Self::Write => 1,
            Self::Delete => 2,
            Self::Read => 4,
            Self::List => 8,
        }
    }

    const fn field(self) -> &'static str {
        match self {
            Self::Delete => "deleteEnabled",
            Self::Write => "writeEnabled",
            Self::List => "listEnabled",
            Self::Read => "readEnabled",
        }
    }
}

/// A manifest was let out of quarantine, or is to stay there: bits beside those of the locks. Stored: never
/// changed.
const PASSED: i64 = 16;
const FAILED: i64 = 32;

/// What is forbidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Locks(i64);

impl Locks {
    pub(crate) const fn from_bits(bits: i64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> i64 {
        self.0
    }

    pub(crate) const fn allow(self, ability: Ability) -> bool {
        self.0 & ability.bit() == 0
    }

    /// True when it was let out of quarantine.
    pub(crate) const fn has_passed(self) -> bool {
        self.0 & PASSED != 0
    }

    /// What was said of it in quarantine.
    pub(crate) const fn quarantine(self) -> Option<QuarantineState> {
        match (self.0 & PASSED != 0, self.0 & FAILED != 0) {
            (true, _) => Some(QuarantineState::Passed),
            (false, true) => Some(QuarantineState::Failed),
            (false, false) => None,
        }
    }

    pub(crate) const fn in_quarantine(self, state: QuarantineState) -> Self {
        let bit = match state {
            QuarantineState::Passed => PASSED,
            QuarantineState::Failed => FAILED,
        };
        Self(self.0 & !(PASSED | FAILED) | bit)
    }

    pub(crate) const fn allow_deletion(self) -> bool {
        self.allow(Ability::Delete) && self.allow(Ability::Write)
    }

    /// `{"deleteEnabled": true, …}`.
    pub(crate) fn attributes(self) -> Value {
        let field = |ability: Ability| (ability.field().to_owned(), Value::Bool(self.allow(ability)));
        Value::Object(Ability::ALL.into_iter().map(field).collect())
    }
}

/// What is said of an image in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuarantineState {
    /// It may be pulled.
    Passed,
    /// It stays.
    Failed,
}

impl QuarantineState {
    /// ACR's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed => "Failed",
        }
    }
}

/// What a caller wants to forbid and to allow again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LockChange {
    forbid: i64,
    allow: i64,
}

impl LockChange {
    pub(crate) const fn is_nothing(self) -> bool {
        self.forbid == 0 && self.allow == 0
    }
}

impl LockChange {
    /// Reads `{"writeEnabled": false, …}`. A field that is absent or null stays as it is; other fields
    /// are not ours to judge: ACR's clients send some that say nothing about locks.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let malformed = |message: String| {
            Problem::new(ErrorCode::Invalid, message)
                .hint("send JSON with `writeEnabled`, `deleteEnabled` and the like, each true or false")
        };
        let unread =
            |error: serde_json::Error| malformed(format!("the attributes are no JSON object: {error}"));
        // Of a key that occurs twice the last would count, and others who read the same bytes may take the first.
        check_json(body).map_err(|JsonError::Syntax { source }| unread(source))?;
        let fields: Map<String, Value> = serde_json::from_slice(body).map_err(unread)?;
        let mut change = Self::default();
        for ability in Ability::ALL {
            match fields.get(ability.field()) {
                None | Some(Value::Null) => {}
                Some(Value::Bool(true)) => change.allow |= ability.bit(),
                Some(Value::Bool(false)) => change.forbid |= ability.bit(),
                Some(_) => return Err(malformed(format!("`{}` is neither true nor false", ability.field()))),
            }
        }
        Ok(change)
    }

    /// What is forbidden afterwards.
    pub(crate) const fn apply(self, locks: Locks) -> Locks {
        Locks((locks.0 | self.forbid) & !self.allow)
    }
}

/// Refuses a write to `what` if it or what holds it is locked.
pub(crate) fn check_write(locks: Locks, what: &str) -> Result<(), Problem> {
    if locks.allow(Ability::Write) { Ok(()) } else { Err(disallowed("write", what, Ability::Write)) }
}

/// Refuses to delete `what` while a lock keeps it.
pub(crate) fn check_delete(locks: Locks, what: &str) -> Result<(), Problem> {
    if locks.allow_deletion() {
        return Ok(());
    }
    let by = if locks.allow(Ability::Delete) { Ability::Write } else { Ability::Delete };
    Err(disallowed("delete", what, by))
}

/// Refuses to delete `what`, whose lock against reading would go with it for good.
pub(crate) fn check_final(locks: Locks, what: &str) -> Result<(), Problem> {
    if locks.allow(Ability::Read) { Ok(()) } else { Err(disallowed("delete", what, Ability::Read)) }
}

/// Refuses to read `what` while a lock forbids it.
pub(crate) fn check_read(locks: Locks, what: &str) -> Result<(), Problem> {
    if locks.allow(Ability::Read) { Ok(()) } else { Err(disallowed("read", what, Ability::Read)) }
}

/// ACR's words: clients know them.
fn disallowed(verb: &str, what: &str, by: Ability) -> Problem {
    Problem::new(
        ErrorCode::Locked,
        format!("the operation is disallowed: {verb} of `{what}` is locked by `{}`", by.field()),
    )
    .hint("who may write metadata there can unlock it: `seaworthy image unlock`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_read_and_applied() {
        for (body, before, after) in [
            ("{}", 5, Some(5)),
            (r#"{"writeEnabled":false}"#, 0, Some(1)),
            (r#"{"writeEnabled":true,"deleteEnabled":false}"#, 1, Some(2)),
            (r#"{"writeEnabled":null,"readEnabled":false,"listEnabled":false}"#, 1, Some(13)),
            (r#"{"quarantineState":"Passed"}"#, 2, Some(2)),
            (r#"{"writeEnabled":"false"}"#, 0, None),
            (r#"{"writeEnabled":false,"writeEnabled":true}"#, 0, None),
            (r#"{"writeEnabled":true,"write\u0045nabled":true}"#, 0, None),
            (r#"{"quarantineState":"Failed","quarantineState":"Passed"}"#, 0, None),
            (r#"{"writeEnabled":true,"x":[{"a":1,"a":1}]}"#, 0, None),
            ("[]", 0, None),
            ("", 0, None),
        ] {
            let change = LockChange::parse(body.as_bytes()).ok();
            let actual = change.map(|change| change.apply(Locks::from_bits(before)).bits());
            assert_eq!(actual, after, "{body}");
        }
    }

    #[test]
    fn either_lock_keeps_from_deletion() {
        for (bits, deletable, writable) in
            [(0, true, true), (1, false, false), (2, false, true), (4, true, true), (8, true, true)]
        {
            let locks = Locks::from_bits(bits);
            assert_eq!(check_delete(locks, "a").is_ok(), deletable, "{bits}");
            assert_eq!(check_write(locks, "a").is_ok(), writable, "{bits}");
        }
    }
}
