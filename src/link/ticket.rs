//! The password: what hosts set, and whether a client's ticket is right.
//!
//! Pure: the caller says what time it is and does the disconnecting. Only new links are tested;
//! a live session does not notice that its password has expired.

use std::time::Instant;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::key::{ENCRYPTED_LEN, TicketKey, Undecryptable};

/// Longest password in bytes, without its NUL.
pub const PASSWORD_MAX: usize = 60;

/// Why a ticket was refused. The client learns only that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketRefused {
    /// Not encrypted under our key.
    #[error("{0}")]
    Undecryptable(#[from] Undecryptable),
    /// The host has set none, or an empty one.
    #[error("no password is set")]
    NoPassword,
    /// The password's time is over.
    #[error("the password has expired")]
    Expired,
    /// Another password.
    #[error("wrong password")]
    Wrong,
}

/// Why a password was not set. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetTicketError {
    /// Longer than [`PASSWORD_MAX`].
    #[error("password of {0} bytes, at most 60")]
    TooLong(usize),
    /// The host wants no change while a client is connected.
    #[error("a client is connected")]
    Connected,
}

/// Who is connected when a password is to be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connected {
    /// Some client has its main channel.
    pub main: bool,
    /// Some client has any channel.
    pub any: bool,
}

/// Whether clients need a password, and which. Starts with ticketing on and no password:
/// everybody is refused until the host says otherwise.
#[derive(Debug)]
pub struct TicketPolicy {
    /// Time 0 of `expiry`.
    epoch: Instant,
    ticketing: bool,
    /// Empty: everybody is refused.
    password: Zeroizing<Vec<u8>>,
    /// Last whole second in which the password is right; `None` for ever.
    expiry: Option<i64>,
}

impl TicketPolicy {
    /// The policy of a new server. `epoch` is any moment that is not later than all others.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, ticketing: true, password: Zeroizing::default(), expiry: None }
    }

    /// True if clients need a password.
    #[must_use]
    pub fn is_ticketing(&self) -> bool {
        self.ticketing
    }

    /// Everybody may come in; the password is forgotten.
    pub fn disable(&mut self) {
        self.ticketing = false;
        self.password = Zeroizing::default();
        self.expiry = None;
    }

    /// The first half of `spice_server_set_ticket`: true if every client has to be disconnected
    /// before [`set`](Self::set) is called.
    ///
    /// # Errors
    /// [`SetTicketError`] if the password must not be set at all. The length is looked at first,
    /// so that a refused password changes nothing and disconnects nobody.
    pub fn before_set(
        &self,
        password: Option<&[u8]>,
        connected: Connected,
        fail_if_connected: bool,
        disconnect_if_connected: bool,
    ) -> Result<bool, SetTicketError> {
        check_length(password)?;
        if connected.main && fail_if_connected {
            return Err(SetTicketError::Connected);
        }
        // A client that came in without a password must not stay once there is one.
        let came_free = connected.any && !self.ticketing;
        Ok((connected.main && disconnect_if_connected) || came_free)
    }

    /// The second half: turns ticketing on and stores the password.
    ///
    /// `lifetime` is in seconds: 0 for ever, negative already over. `None` and an empty password
    /// refuse everybody.
    ///
    /// # Errors
    /// [`SetTicketError::TooLong`]; nothing has changed then.
    pub fn set(
        &mut self,
        password: Option<&[u8]>,
        lifetime: i32,
        now: Instant,
    ) -> Result<(), SetTicketError> {
        check_length(password)?;
        self.ticketing = true;
        self.expiry = match lifetime {
            0 => None,
            _ => Some(self.seconds(now).saturating_add(lifetime.into())),
        };
        self.password = Zeroizing::new(password.unwrap_or_default().to_vec());
        Ok(())
    }

    /// Whether an encrypted ticket lets its sender in.
    ///
    /// `skip_auth` is for connections that the host has vouched for: they send a ticket all the
    /// same, but any will do.
    ///
    /// # Errors
    /// [`TicketRefused`] with the reason for the log. A ticket that cannot be decrypted is refused
    /// even when none is needed, as the reference does.
    pub fn check(
        &self,
        key: &TicketKey,
        encrypted: &[u8; ENCRYPTED_LEN],
        skip_auth: bool,
        now: Instant,
    ) -> Result<(), TicketRefused> {
        let text = key.decrypt(encrypted)?;
        if skip_auth { Ok(()) } else { self.check_text(&text, now) }
    }

    /// Whether a decrypted ticket lets its sender in.
    ///
    /// # Errors
    /// [`TicketRefused`] with the reason for the log.
    pub fn check_text(&self, text: &[u8], now: Instant) -> Result<(), TicketRefused> {
        if !self.ticketing {
            return Ok(());
        }
        if self.password.is_empty() {
            return Err(TicketRefused::NoPassword);
        }
        if self.expiry.is_some_and(|last| last < self.seconds(now)) {
            return Err(TicketRefused::Expired);
        }
        if same(&self.password, text) { Ok(()) } else { Err(TicketRefused::Wrong) }
    }

    /// Whole seconds since the epoch: a lifetime of n works for n to n + 1 seconds.
    fn seconds(&self, now: Instant) -> i64 {
        let seconds = now.saturating_duration_since(self.epoch).as_secs();
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }
}

fn check_length(password: Option<&[u8]>) -> Result<(), SetTicketError> {
    match password.map_or(0, <[u8]>::len) {
        0..=PASSWORD_MAX => Ok(()),
        len => Err(SetTicketError::TooLong(len)),
    }
}

/// Compares in a time that tells neither where the texts differ nor how long the password is.
fn same(password: &[u8], text: &[u8]) -> bool {
    let (a, b) = (padded(password), padded(text));
    let len = password.len().ct_eq(&text.len());
    (len & a.ct_eq(b.as_slice())).into()
}

/// The text in a block as long as any decrypted text; a longer one is cut, its length differs.
fn padded(text: &[u8]) -> Zeroizing<[u8; ENCRYPTED_LEN]> {
    let mut block = Zeroizing::new([0; ENCRYPTED_LEN]);
    for (to, from) in block.iter_mut().zip(text) {
        *to = *from;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::{KEY, encrypt};
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn with_password(password: &[u8], lifetime: i32) -> (TicketPolicy, Instant) {
        let start = Instant::now();
        let mut policy = TicketPolicy::new(start);
        policy.set(Some(password), lifetime, start).unwrap();
        (policy, start)
    }

    #[test]
    fn a_new_server_refuses_everybody() {
        let start = Instant::now();
        let policy = TicketPolicy::new(start);
        assert!(policy.is_ticketing());
        assert_eq!(policy.check_text(b"", start), Err(TicketRefused::NoPassword));
        assert_eq!(policy.check_text(b"x", start), Err(TicketRefused::NoPassword));
    }

    #[test]
    fn null_and_empty_passwords_refuse_everybody() {
        let (mut policy, start) = with_password(b"secret", 0);
        for none in [None, Some(&b""[..])] {
            policy.set(none, 0, start).unwrap();
            assert_eq!(policy.check_text(b"", start), Err(TicketRefused::NoPassword));
        }
        policy.disable();
        policy.set(None, i32::MAX, start).unwrap();
        assert!(policy.is_ticketing());
    }

    #[test]
    fn only_the_whole_password_is_right() {
        let long = [b'x'; 60];
        for password in [&b"secret"[..], &long] {
            let (policy, start) = with_password(password, 0);
            let far = start + Duration::from_secs(10_000_000);
            assert_eq!(policy.check_text(password, far), Ok(()));
            let mut more = password.to_vec();
            more.push(0);
            let less = &password[..password.len() - 1];
            for wrong in [&more[..], less, b"", b"Secret", &[0; 86], &[b'x'; 86], &[b'x'; 200]] {
                assert_eq!(policy.check_text(wrong, far), Err(TicketRefused::Wrong));
            }
        }
    }

    #[test]
    fn ticket_is_refused_after_expiry() {
        let (policy, start) = with_password(b"p", 2);
        for (after, result) in [
            (0, Ok(())),
            (2000, Ok(())),
            (2999, Ok(())),
            (3000, Err(TicketRefused::Expired)),
            (9000, Err(TicketRefused::Expired)),
        ] {
            assert_eq!(policy.check_text(b"p", start + Duration::from_millis(after)), result);
        }
    }

    #[test]
    fn negative_lifetimes_are_over_and_the_longest_does_not_overflow() {
        for (lifetime, result) in [
            (-1, Err(TicketRefused::Expired)),
            (i32::MIN, Err(TicketRefused::Expired)),
            (i32::MAX, Ok(())),
        ] {
            let (policy, start) = with_password(b"p", lifetime);
            assert_eq!(policy.check_text(b"p", start + SECOND), result);
        }
    }

    #[test]
    fn a_password_that_is_too_long_changes_nothing() {
        let (mut policy, start) = with_password(b"old", 1);
        let later = start + 5 * SECOND;
        let long = [b'x'; 61];
        assert_eq!(policy.set(Some(&long), 0, later), Err(SetTicketError::TooLong(61)));
        assert_eq!(policy.check_text(b"old", later), Err(TicketRefused::Expired));
        policy.disable();
        assert!(policy.set(Some(&long), 0, later).is_err());
        assert!(!policy.is_ticketing());
        let connected = Connected { main: true, any: true };
        assert_eq!(
            policy.before_set(Some(&long), connected, true, true),
            Err(SetTicketError::TooLong(61))
        );
    }

    #[test]
    fn connected_clients_fail_the_call_or_go_or_stay() {
        let (mut policy, _) = with_password(b"p", 0);
        let both = Connected { main: true, any: true };
        let nobody = Connected::default();
        let before = |policy: &TicketPolicy, connected, fail, disconnect| {
            policy.before_set(Some(b"new"), connected, fail, disconnect)
        };
        assert_eq!(before(&policy, both, true, true), Err(SetTicketError::Connected));
        assert_eq!(before(&policy, both, false, true), Ok(true));
        assert_eq!(before(&policy, both, false, false), Ok(false));
        assert_eq!(before(&policy, nobody, true, true), Ok(false));
        policy.disable();
        assert_eq!(before(&policy, both, false, false), Ok(true));
        assert_eq!(before(&policy, both, true, false), Err(SetTicketError::Connected));
        assert_eq!(before(&policy, nobody, false, false), Ok(false));
    }

    #[test]
    fn undecryptable_tickets_are_refused_even_without_ticketing() {
        let (mut policy, now) = with_password(b"p", 0);
        policy.disable();
        let undecryptable = Err(TicketRefused::Undecryptable(Undecryptable));
        for skip_auth in [false, true] {
            assert_eq!(policy.check(&KEY, &[7; 128], skip_auth, now), undecryptable);
        }
        let any = encrypt(KEY.public_der(), b"whatever\0");
        assert_eq!(policy.check(&KEY, &any, false, now), Ok(()));
        policy.set(Some(b"p"), 0, now).unwrap();
        assert_eq!(policy.check(&KEY, &any, false, now), Err(TicketRefused::Wrong));
        assert_eq!(policy.check(&KEY, &any, true, now), Ok(()));
        let right = encrypt(KEY.public_der(), b"p\0");
        assert_eq!(policy.check(&KEY, &right, false, now), Ok(()));
    }
}
