use seaworthy_model::{Actor, ActorKind, AuthMethod, PrincipalId, Scope, Timestamp};

use crate::{Permission, Session, snapshot::Assignment, token::ResourceAccess};

/// Who is asking, as proved.
#[derive(Clone, Debug)]
pub struct Identity {
    /// For the ledger.
    pub actor: Actor,
    pub(crate) rights: Rights,
    pub(crate) session: Option<Session>,
    /// The principal's epoch when it was proved.
    pub(crate) epoch: Option<i64>,
    /// When what proved it ends: no token that is bought with it lasts longer.
    pub(crate) ends: Option<Timestamp>,
    /// When the secret behind a token ends, which another may be exchanged for.
    pub(crate) secret_ends: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub(crate) enum Rights {
    /// On the operator socket: Owner of everything on this machine.
    Operator,
    /// What the principal's roles give.
    Principal(PrincipalId),
    /// What the principal's roles give, within what the token was asked for.
    Token(PrincipalId, Vec<ResourceAccess>),
    /// What the principal's roles give at the registry: the bearer of a refresh token.
    Refresh(PrincipalId),
    /// Nothing.
    Anonymous,
}

impl Identity {
    pub(crate) const fn new(actor: Actor, rights: Rights) -> Self {
        Self { actor, rights, session: None, epoch: None, ends: None, secret_ends: None }
    }

    pub(crate) fn at_epoch(self, epoch: i64) -> Self {
        Self { epoch: Some(epoch), ..self }
    }

    /// Nobody in particular.
    pub fn anonymous(source: Option<String>) -> Self {
        Self::new(Actor::anonymous(source), Rights::Anonymous)
    }

    /// A user of this machine on the operator socket.
    pub fn operator(uid: u32) -> Self {
        Self::new(Actor::operator(uid), Rights::Operator)
    }

    /// The server itself, for work that a rule of its owner asks for.
    pub fn system() -> Self {
        Self::new(Actor::system(), Rights::Operator)
    }

    /// True when nobody proved anything.
    pub const fn is_anonymous(&self) -> bool {
        matches!(self.rights, Rights::Anonymous)
    }

    /// True when nobody signed in: also with the token that everybody gets.
    pub const fn is_nobody(&self) -> bool {
        matches!(self.actor.kind, ActorKind::Anonymous)
    }

    /// True on the operator socket of this machine.
    pub const fn is_operator(&self) -> bool {
        matches!(self.rights, Rights::Operator)
    }

    /// The principal, when there is one.
    pub const fn principal(&self) -> Option<PrincipalId> {
        match self.rights {
            Rights::Principal(id) | Rights::Refresh(id) | Rights::Token(id, _) => Some(id),
            Rights::Operator | Rights::Anonymous => None,
        }
    }

    /// The session, when that is the proof.
    pub const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// True while what proved it lasts and nothing about its principal, which is of this epoch now, has ended it.
    pub(crate) fn holds(&self, epoch: i64, now: Timestamp) -> bool {
        self.epoch.is_none_or(|proved| proved == epoch) && self.ends.is_none_or(|ends| now < ends)
    }

    /// True when a secret was proved, now or for the token that may be exchanged.
    pub(crate) fn has_secret(&self) -> bool {
        matches!(self.rights, Rights::Principal(_)) && self.actor.method == AuthMethod::ClientSecret
    }

    /// True when the token, if it is one, was issued for this.
    pub(crate) fn within_token(&self, permission: Permission, scope: &Scope) -> bool {
        match &self.rights {
            Rights::Token(_, access) => access.iter().any(|access| access.covers(permission, scope)),
            Rights::Refresh(_) => permission.is_of_registry(),
            Rights::Operator | Rights::Principal(_) | Rights::Anonymous => true,
        }
    }
}

/// Allow or deny, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub allowed: bool,
    /// The assignment that allowed it; `None` for a denial and for the operator.
    pub by: Option<Assignment>,
    /// The reason in words.
    pub reason: String,
}
