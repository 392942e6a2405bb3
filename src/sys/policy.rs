//! What the site's administrators allow of cryptography.

use std::fs;

/// Where the kernel says whether it is in FIPS mode, and Red Hat's crypto-policies which policy is in force.
const FIPS_MODE: &str = "/proc/sys/crypto/fips_enabled";
const POLICY: &str = "/etc/crypto-policies/state/current";

/// The name of a policy of this site that forbids RSA with 1,024 bits; `None` without one.
///
/// The libraries of clients under the same policy refuse such keys. Reads two small files; any thread.
#[must_use]
pub fn forbids_short_rsa() -> Option<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    strict(&read(FIPS_MODE), &read(POLICY))
}

/// As above, from the contents of the two files.
fn strict(fips: &str, policy: &str) -> Option<String> {
    if fips.trim() == "1" {
        return Some("FIPS".to_owned());
    }
    // A name and, behind colons, changes to it. The rest of the file is no business of ours.
    let policy: String = policy.trim().chars().take(64).collect();
    let name = policy.split([':', '\n']).next().unwrap_or_default();
    matches!(name, "FIPS" | "FUTURE").then(|| policy.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::strict;

    #[test]
    fn fips_and_future_forbid_short_keys_and_others_do_not() {
        for (fips, policy, want) in [
            ("1\n", "", Some("FIPS")),
            ("0\n", "DEFAULT\n", None),
            ("0\n", "LEGACY:AD-SUPPORT\n", None),
            ("", "FUTURE:NO-SHA1\n", Some("FUTURE:NO-SHA1")),
            ("0\n", "FIPS\n", Some("FIPS")),
            ("", "FUTURISTIC\n", None),
            ("", "", None),
        ] {
            assert_eq!(strict(fips, policy).as_deref(), want, "{fips:?} {policy:?}");
        }
    }
}
