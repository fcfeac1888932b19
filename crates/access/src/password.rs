//! Passwords of people: which are refused, and how they are hashed.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use seaworthy_model::Secret;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use crate::{AccessError, SignInError, limit};

/// How today's passwords are hashed (RFC 9106; the smallest set that OWASP recommends).
const SCHEME: &str = "argon2id v=19 m=19456 t=2 p=1";
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const HASH_BYTES: usize = 32;

/// A password as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredPassword {
    pub(crate) scheme: String,
    pub(crate) salt: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

/// Hashes passwords: few at a time, each on a blocking thread.
pub(crate) struct Hasher {
    /// Mixed into every hash, so that the database alone is not enough to guess passwords.
    pepper: Arc<Secret<Vec<u8>>>,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    /// Checked when there is no password to check; no password fits it.
    nobody: StoredPassword,
    #[cfg(test)]
    pub(crate) hashed: Arc<std::sync::atomic::AtomicUsize>,
}

impl Hasher {
    pub(crate) fn new(pepper: Secret<Vec<u8>>) -> Result<Self, AccessError> {
        let (salt, hash) = (seaworthy_seal::random::<16>()?, seaworthy_seal::random::<HASH_BYTES>()?);
        Ok(Self {
            pepper: Arc::new(pepper),
            admitted: Arc::new(Semaphore::new(limit::HASHES + limit::HASHES_WAITING)),
            running: Arc::new(Semaphore::new(limit::HASHES)),
            nobody: StoredPassword { scheme: SCHEME.to_owned(), salt: salt.to_vec(), hash: hash.to_vec() },
            #[cfg(test)]
            hashed: Arc::default(),
        })
    }

    /// A new password, to be stored.
    pub(crate) async fn make(&self, password: &Secret<String>) -> Result<StoredPassword, SignInError> {
        let salt = seaworthy_seal::random::<16>().map_err(AccessError::from)?.to_vec();
        let hash = self.hash(password, &salt).await?;
        Ok(StoredPassword { scheme: SCHEME.to_owned(), salt, hash })
    }

    /// True when `password` is the stored one. Without a stored one it takes as long, and is false.
    pub(crate) async fn fits(
        &self,
        password: &Secret<String>,
        stored: Option<&StoredPassword>,
    ) -> Result<bool, SignInError> {
        // A scheme that this version does not know fits nothing.
        let stored = stored.filter(|stored| stored.scheme == SCHEME);
        let against = stored.unwrap_or(&self.nobody);
        let hash = self.hash(password, &against.salt).await?;
        let fits: bool = hash.ct_eq(&against.hash).into();
        Ok(fits && stored.is_some())
    }

    async fn hash(&self, password: &Secret<String>, salt: &[u8]) -> Result<Vec<u8>, SignInError> {
        let busy = SignInError::TooMany { retry_after_seconds: 1 };
        let Ok(admitted) = self.admitted.clone().try_acquire_owned() else { return Err(busy) };
        let Ok(running) = self.running.clone().acquire_owned().await else { return Err(busy) };
        #[cfg(test)]
        self.hashed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let (pepper, password, salt) = (self.pepper.clone(), password.clone(), salt.to_vec());
        // The permits go with the work: a caller that leaves does not make room before it is done.
        let work = move || {
            let _permits = (admitted, running);
            argon2id(pepper.expose(), password.expose().as_bytes(), &salt)
        };
        let hash = tokio::task::spawn_blocking(work).await.ok().flatten();
        hash.ok_or(SignInError::Access(AccessError::Unreadable { what: "password hash" }))
    }

    #[cfg(test)]
    pub(crate) fn fill(&self) -> tokio::sync::OwnedSemaphorePermit {
        let all = u32::try_from(limit::HASHES + limit::HASHES_WAITING).expect("small");
        self.admitted.clone().try_acquire_many_owned(all).expect("nobody hashes")
    }
}

fn argon2id(pepper: &[u8], password: &[u8], salt: &[u8]) -> Option<Vec<u8>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).ok()?;
    let argon2 = Argon2::new_with_secret(pepper, Algorithm::Argon2id, Version::V0x13, params).ok()?;
    let mut hash = vec![0; HASH_BYTES];
    argon2.hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}

/// Words that everybody tries first.
const WELL_KNOWN: &[&str] =
    &["password", "passwort", "seaworthy", "qwerty", "letmein", "welcome", "admin", "12345678", "123456"];

/// Why a password is too easy to guess; `None` when it is not.
pub(crate) fn weakness(password: &str, name: &str) -> Option<&'static str> {
    if password.chars().count() < limit::PASSWORD_CHARS {
        return Some("it has less than 12 characters");
    }
    if password.len() > limit::PASSWORD_BYTES {
        return Some("it is longer than 1024 bytes");
    }
    let lower = password.to_lowercase();
    let mut different: Vec<char> = lower.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < limit::PASSWORD_DIFFERENT {
        return Some("it repeats a few characters");
    }
    let mut own = lower.replace(&name.to_lowercase(), "");
    for word in WELL_KNOWN {
        own = own.replace(word, "");
    }
    if own.chars().count() < limit::PASSWORD_OWN {
        return Some("it is made of your name or of well-known words");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_are_guessed_first_are_refused() {
        let four = "abcd".repeat(4);
        let five = format!("{four}e");
        assert_eq!(limit::PASSWORD_DIFFERENT, 5);
        for (password, weak) in [
            ("correct horse battery", false),
            ("", true),
            (&"a1b2c3d4e5f6"[..limit::PASSWORD_CHARS - 1], true),
            (&"a1b2c3d4e5f6"[..limit::PASSWORD_CHARS], false),
            // Characters, not bytes: this has twelve of three bytes each.
            ("さくら咲く港に船が着いた", false),
            ("さくら咲く港に船が", true),
            (&four, true),
            (&five, false),
            ("margarethe-the-2nd", true),
            ("Margarethe-the-2nd", true),
            ("Password12345678", true),
            ("seaworthyseaworthy", true),
        ] {
            assert_eq!(weakness(password, "margarethe-the-2nd").is_some(), weak, "{password}");
        }
        // Beside the name stand seven characters, then eight.
        assert!(weakness("MargaretheMargarethe", "margarethe").is_some());
        let own = "kq7x2mzp";
        assert_eq!(own.len(), limit::PASSWORD_OWN);
        assert!(weakness(&format!("margarethe{}", &own[1..]), "margarethe").is_some());
        assert!(weakness(&format!("margarethe{own}"), "margarethe").is_none());
        let long: String = "abcdefghij".chars().cycle().take(limit::PASSWORD_BYTES + 1).collect();
        assert!(weakness(&long[..limit::PASSWORD_BYTES], "ann").is_none());
        assert!(weakness(&long, "ann").is_some());
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_fits_itself_with_its_pepper_and_nothing_fits_nobody() {
        let hasher = Hasher::new(Secret::new(vec![7; 32])).expect("hasher");
        let stored = hasher.make(&secret("correct horse")).await.expect("hashed");
        assert!(hasher.fits(&secret("correct horse"), Some(&stored)).await.expect("hashed"));
        assert!(!hasher.fits(&secret("correct horsf"), Some(&stored)).await.expect("hashed"));
        assert!(!hasher.fits(&secret("correct horse"), None).await.expect("hashed"));
        let other = StoredPassword { scheme: "argon9".into(), ..stored.clone() };
        assert!(!hasher.fits(&secret("correct horse"), Some(&other)).await.expect("hashed"));
        let stolen = Hasher::new(Secret::new(vec![8; 32])).expect("hasher");
        assert!(!stolen.fits(&secret("correct horse"), Some(&stored)).await.expect("hashed"));
        let again = hasher.make(&secret("correct horse")).await.expect("hashed");
        assert_ne!(again.hash, stored.hash, "salted");
    }

    #[tokio::test]
    async fn so_many_wait_and_one_more_is_told_to_come_back() {
        let hasher = Hasher::new(Secret::new(vec![7; 32])).expect("hasher");
        let mut held = hasher.fill();
        let all = limit::HASHES + limit::HASHES_WAITING;
        assert_eq!(held.num_permits(), all);
        assert!(matches!(hasher.make(&secret("x")).await, Err(SignInError::TooMany { .. })));
        drop(held.split(1));
        assert!(hasher.make(&secret("x")).await.is_ok(), "there is room for one");
        assert_eq!(hasher.running.available_permits(), limit::HASHES, "it made room again");
    }
}
