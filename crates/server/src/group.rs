//! The operator group: who of this machine's users may use the operator socket, beside root and
//! the server's own user. Accounts are read from `/etc/passwd` and `/etc/group` at each connection,
//! so that a member who is taken out is refused at the next one.

use std::{fs::File, io::Read as _, path::Path};

use crate::limit;

/// A configured group, found when the server starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OperatorGroup {
    pub(crate) gid: u32,
}

/// `/etc/passwd` and `/etc/group`, as read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// This machine's. A file that cannot be read is empty: it makes nobody an operator.
    pub(crate) fn read() -> Self {
        let read = |path: &str| {
            let mut text = String::new();
            let read = File::open(Path::new(path))
                .and_then(|file| file.take(limit::ACCOUNTS_BYTES).read_to_string(&mut text));
            if read.is_ok() { text } else { String::new() }
        };
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// The group of a name or a number; `None` when there is none.
    pub(crate) fn group(&self, name_or_gid: &str) -> Option<OperatorGroup> {
        let named = fields(&self.group).find(|line| line.first() == Some(&name_or_gid));
        let gid = match named {
            Some(line) => line.get(2)?.parse().ok()?,
            None => name_or_gid.parse().ok()?,
        };
        Some(OperatorGroup { gid })
    }

    /// The user's name.
    pub(crate) fn name(&self, uid: u32) -> Option<&str> {
        self.user(uid)?.first().copied()
    }

    /// True when it is the user's primary group, or names the user as a member.
    pub(crate) fn is_member(&self, uid: u32, group: OperatorGroup) -> bool {
        let Some(user) = self.user(uid) else { return false };
        let number = |field: Option<&&str>| field.and_then(|it| it.parse::<u32>().ok());
        let Some(name) = user.first().filter(|name| !name.is_empty()) else { return false };
        number(user.get(3)) == Some(group.gid)
            || fields(&self.group)
                .filter(|line| number(line.get(2)) == Some(group.gid))
                .filter_map(|line| line.get(3).copied())
                .any(|members| members.split(',').any(|member| member == *name))
    }

    fn user(&self, uid: u32) -> Option<Vec<&str>> {
        fields(&self.passwd).find(|line| line.get(2).and_then(|it| it.parse().ok()) == Some(uid))
    }
}

fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

/// True when a peer of the operator socket is an operator.
pub(crate) fn is_operator(uid: u32, own: u32, group: Option<OperatorGroup>, accounts: &Accounts) -> bool {
    uid == 0 || uid == own || group.is_some_and(|group| accounts.is_member(uid, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Accounts {
        Accounts {
            passwd: "root:x:0:0::/:/bin/sh\nserver:x:90:90::/:/bin/false\nann:x:1000:1000::/:/bin/sh\n\
                     ben:x:1001:200::/:/bin/sh\ncy:x:1002:1002::/:/bin/sh\n:x:1003:1003::/:\nbroken\n"
                .into(),
            group: "root:x:0:\nops:x:200:ann,dora\nann:x:1000:\nothers:x:300:cy,\nbroken:x\n".into(),
        }
    }

    #[test]
    fn root_the_server_and_members_are_operators_and_nobody_else() {
        let accounts = recorded();
        let ops = accounts.group("ops");
        assert_eq!(ops, Some(OperatorGroup { gid: 200 }));
        assert_eq!(accounts.group("200"), ops);
        assert_eq!(accounts.group("nobodys"), None);
        for (uid, group, expected) in [
            (0, None, true),
            (90, None, true),
            (1000, None, false),
            (1000, ops, true),
            (1001, ops, true),
            (1002, ops, false),
            (1003, accounts.group("300"), false),
            (4242, ops, false),
        ] {
            assert_eq!(is_operator(uid, 90, group, &accounts), expected, "{uid} {group:?}");
        }
        assert_eq!(accounts.name(1000), Some("ann"));
        assert!(!is_operator(1000, 90, ops, &Accounts::default()), "unreadable files make no operator");
    }
}
