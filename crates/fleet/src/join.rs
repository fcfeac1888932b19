//! How hosts of other machines come into the fleet: an invitation is used once, by one key.

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, HostId, Timestamp};
use seaworthy_store::Tx;

use crate::{Fleet, FleetError, db, limit};

/// SHA-256 of a secret, a public key or a certificate.
pub type Hash = [u8; 32];

/// Who may join.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Hash of the secret that proves it.
    pub secret: Hash,
    /// The name that the host gets; `None` leaves it to the host.
    pub name: Option<String>,
    /// For how long, in seconds.
    pub seconds: i64,
}

/// A host that wants to join.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// Hash of the secret that it shows.
    pub secret: Hash,
    /// What it calls itself.
    pub name: String,
    /// Hash of its public key, which it has proved to have.
    pub key: Hash,
    /// The name of the control plane's own machine, which no other gets.
    pub reserved: String,
}

impl Fleet {
    /// Lets one host join, until when is returned.
    pub async fn invite(&self, actor: &Actor, invitation: Invitation) -> Result<Timestamp, FleetError> {
        if let Some(name) = &invitation.name {
            check_name(name)?;
        }
        if !(1..=limit::INVITATION_SECONDS).contains(&invitation.seconds) {
            return Err(FleetError::InvitationSeconds);
        }
        let context = (invitation, actor.name.clone(), self.db().now());
        seaworthy_ledger::write(self.db(), actor, context, |(invitation, by, now), tx| {
            Box::pin(async move {
                if db::join::count_open(tx, *now).await? >= limit::INVITATIONS {
                    return Err(FleetError::TooMany { what: "open invitations", limit: limit::INVITATIONS });
                }
                let until = now.plus_seconds(invitation.seconds);
                db::join::insert(tx, invitation, by, (*now, until)).await?;
                let name = invitation.name.as_deref().unwrap_or("*");
                let act = Act::new(Action::HostInvite, format!("hosts/{name}"));
                Ok((until, vec![act.details(serde_json::json!({ "expires_at": until }))]))
            })
        })
        .await
    }

    /// Refuses who shows no secret of an open invitation; nothing is used up.
    pub async fn is_invited(&self, secret: Hash) -> Result<(), FleetError> {
        let found = db::join::open(self.db(), &secret, self.db().now()).await?;
        if found { Ok(()) } else { Err(FleetError::Invitation) }
    }

    /// Takes a host in, and returns its id and name. An invitation is used once; the key that used it
    /// may ask again while it lasts, because the answer may have been lost.
    pub async fn admit(&self, actor: &Actor, newcomer: Newcomer) -> Result<(HostId, String), FleetError> {
        check_name(&newcomer.name)?;
        let context = (HostId::generate(), newcomer, self.db().now());
        seaworthy_ledger::write(self.db(), actor, context, |(host, newcomer, now), tx| {
            Box::pin(async move { admit(tx, *host, newcomer, *now).await })
        })
        .await
    }

    /// From now on this certificate, whose hash it is, stands for the host.
    pub async fn certify(&self, host: HostId, certificate: Hash) -> Result<(), FleetError> {
        self.db()
            .upkeep((host, certificate), |(host, certificate), tx| {
                Box::pin(async move { db::join::certify(tx, *host, certificate).await })
            })
            .await
            .map_err(FleetError::Db)
    }

    /// The host that a certificate stands for.
    pub async fn certified(&self, certificate: &Hash) -> Result<Option<HostId>, FleetError> {
        Ok(db::join::certified(self.db(), certificate).await?)
    }

    /// Images of a host's containers that were never pushed, as its engine calls them: at most
    /// [`seaworthy_link::limit::UNREAD`].
    pub async fn unread(&self, host: HostId) -> Result<Vec<String>, FleetError> {
        Ok(db::join::unread(self.db(), host).await?)
    }
}

async fn admit(
    tx: &mut Tx<'_>,
    host: HostId,
    newcomer: &Newcomer,
    now: Timestamp,
) -> Result<((HostId, String), Vec<Act>), FleetError> {
    let invitation = db::join::find(tx, &newcomer.secret, now).await?.ok_or(FleetError::Invitation)?;
    if let Some((key, host)) = invitation.used {
        let name = db::host_name(tx, host).await?.filter(|_| key == newcomer.key);
        return Ok(((host, name.ok_or(FleetError::Invitation)?), Vec::new()));
    }
    let name = invitation.name.as_ref().unwrap_or(&newcomer.name);
    if db::count_hosts(tx).await? >= limit::HOSTS {
        return Err(FleetError::TooMany { what: "hosts", limit: limit::HOSTS });
    }
    if *name == newcomer.reserved || !db::insert_host(tx, host, name, now).await? {
        return Err(FleetError::HostTaken { name: name.clone() });
    }
    db::join::set_used(tx, &newcomer.secret, (&newcomer.key, host)).await?;
    let act = Act::new(Action::HostJoin, format!("hosts/{name}"));
    let details = serde_json::json!({ "id": host, "invited_by": invitation.by });
    Ok(((host, name.clone()), vec![act.details(details)]))
}

/// A host's name has a place in scopes and pages.
pub(crate) fn check_name(name: &str) -> Result<(), FleetError> {
    if name.is_empty() || name.len() > limit::NAME_BYTES || name.chars().any(char::is_control) {
        return Err(FleetError::HostName);
    }
    Ok(())
}
