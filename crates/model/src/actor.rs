use serde::{Deserialize, Serialize};

use crate::PrincipalId;

/// What kind of thing acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// Whoever may open the operator socket on this machine.
    Operator,
    /// A person.
    User,
    /// A program.
    ServicePrincipal,
    /// Nobody said who they are.
    Anonymous,
    /// The server itself: workers, schedules, recovery.
    System,
}

/// How the actor proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// The peer's uid on the operator socket.
    OperatorSocket,
    /// A client secret, or the password of a login.
    ClientSecret,
    /// A signed token.
    Token,
    /// A session of a person, begun with a one-time link or a password.
    Session,
    /// No proof was given or needed.
    None,
}

/// Who did it: part of every ledger record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// Kind.
    pub kind: ActorKind,
    /// The principal, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalId>,
    /// The name shown to people: a principal's name, `uid:1000`, `anonymous`, `system`.
    pub name: String,
    /// How it proved who it is.
    pub method: AuthMethod,
    /// Network address, when the act came over a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Actor {
    /// The server itself.
    pub fn system() -> Self {
        Self {
            kind: ActorKind::System,
            principal: None,
            name: "system".into(),
            method: AuthMethod::None,
            source: None,
        }
    }

    /// Who stands behind the name: `uid:1000` for an operator, for a member of the operator group,
    /// and for the login `operator-1000` that docker was given for that operator; else the name.
    pub fn person(&self) -> String {
        let uid = match (self.kind, &self.source) {
            (ActorKind::Operator, Some(source)) => source.strip_prefix("uid:"),
            (ActorKind::User, _) => self.name.strip_prefix("operator-"),
            _ => None,
        };
        let uid = uid.filter(|uid| !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_digit()));
        uid.map_or_else(|| self.name.clone(), |uid| format!("uid:{uid}"))
    }

    /// Nobody in particular.
    pub fn anonymous(source: Option<String>) -> Self {
        Self {
            kind: ActorKind::Anonymous,
            principal: None,
            name: "anonymous".into(),
            method: AuthMethod::None,
            source,
        }
    }

    /// A user of this machine, by the uid the kernel reports for the socket's peer.
    pub fn operator(uid: u32) -> Self {
        Self {
            kind: ActorKind::Operator,
            principal: None,
            name: format!("uid:{uid}"),
            method: AuthMethod::OperatorSocket,
            source: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_behind_several_names() {
        let login = |name: &str, kind| Actor { kind, name: name.into(), ..Actor::anonymous(None) };
        assert_eq!(Actor::operator(7).person(), "uid:7");
        assert_eq!(login("operator-7", ActorKind::User).person(), "uid:7");
        assert_eq!(login("operator-7", ActorKind::ServicePrincipal).person(), "operator-7");
        assert_eq!(login("operator-x", ActorKind::User).person(), "operator-x");
        let member = Actor { source: Some("uid:7".into()), ..login("ann", ActorKind::Operator) };
        assert_eq!(member.person(), "uid:7");
    }
}
