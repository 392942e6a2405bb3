//! Lists of ciphers in OpenSSL's language (ciphers(1)), applied to the suites that are served here.
//!
//! As there: words add suites to an empty list (`ECDHE+AESGCM` those with all properties), `!` forbids, `-` takes
//! out, `+` moves to the end, words that name nothing are skipped, and it is an error if nothing is left. The list is
//! about TLS 1.2; suites of TLS 1.3 are all served unless the list names some of them, which OpenSSL's lists cannot.

use std::sync::LazyLock;

use rustls::CipherSuite;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite};

/// Longest list that is read.
const MAX_LIST: usize = 4096;
/// Highest security level.
const MAX_LEVEL: u32 = 5;
/// Records under one key of TLS 1.2, which knows no new keys: rustls would end the connection after 2²⁴, which a
/// display or a mouse reaches in days. Beyond is what OpenSSL does, without any bound; this one keeps the advantage
/// of who collects all of it (2³² full records, 64 TiB) below 2⁻⁴⁴.
const TLS12_RECORDS: u64 = 1 << 32;

/// Why a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// Longer than any list.
    #[error("a list of ciphers has 4,096 bytes at most")]
    TooLong,
    /// `@SECLEVEL` of something else, or an unknown `@` word.
    #[error("{0:?} in the list of ciphers is no command")]
    Command(String),
    /// Nothing of what the list allows is served.
    #[error(
        "no cipher of {0:?} is served; there are ECDHE with AES-GCM or ChaCha20-Poly1305, and those of TLS 1.3"
    )]
    NothingLeft(String),
}

/// What a list of ciphers allows.
#[derive(Debug, Clone)]
pub struct Ciphers {
    /// In order of preference; never empty.
    pub suites: Vec<SupportedCipherSuite>,
    /// Words that name nothing here, for the log.
    pub skipped: Vec<String>,
}

/// A suite of TLS 1.2 with OpenSSL's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Suite {
    name: &'static str,
    iana: &'static str,
    suite: CipherSuite,
    words: &'static [&'static str],
    bits: u32,
}

macro_rules! suite {
    ($name:literal, $iana:ident, $bits:literal, $($word:literal)*) => {
        Suite {
            name: $name,
            iana: stringify!($iana),
            suite: CipherSuite::$iana,
            words: &[$($word),*],
            bits: $bits,
        }
    };
}

/// In OpenSSL's order.
const SUITES: [Suite; 6] = [
    suite!("ECDHE-ECDSA-AES256-GCM-SHA384", TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 256,
        "aECDSA" "ECDSA" "AES" "AES256" "AESGCM"),
    suite!("ECDHE-RSA-AES256-GCM-SHA384", TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, 256,
        "aRSA" "AES" "AES256" "AESGCM"),
    suite!("ECDHE-ECDSA-CHACHA20-POLY1305", TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, 256,
        "aECDSA" "ECDSA" "CHACHA20"),
    suite!("ECDHE-RSA-CHACHA20-POLY1305", TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, 256,
        "aRSA" "CHACHA20"),
    suite!("ECDHE-ECDSA-AES128-GCM-SHA256", TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 128,
        "aECDSA" "ECDSA" "AES" "AES128" "AESGCM"),
    suite!("ECDHE-RSA-AES128-GCM-SHA256", TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 128,
        "aRSA" "AES" "AES128" "AESGCM"),
];

/// Words that all of these suites answer to.
const COMMON: [&str; 9] =
    ["ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2", "PROFILE=SYSTEM"];

/// Suites of TLS 1.3 with their strength, in the library's order.
const TLS13: [(&str, CipherSuite, u32); 3] = [
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384, 256),
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256, 128),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, 256),
];

impl Suite {
    fn answers(&self, word: &str) -> bool {
        self.name == word
            || self.iana == word
            || COMMON.contains(&word)
            || self.words.contains(&word)
    }
}

/// Applies a list; `None` is everything.
///
/// # Errors
/// [`CipherError`].
pub fn choose(list: Option<&str>) -> Result<Ciphers, CipherError> {
    let list = list.unwrap_or("DEFAULT");
    if list.len() > MAX_LIST {
        return Err(CipherError::TooLong);
    }
    let mut chosen = Chosen::default();
    for word in list.split([':', ',', ';', ' ']).filter(|w| !w.is_empty()) {
        chosen.take(word)?;
    }
    chosen.finish(list)
}

#[derive(Debug, Default)]
struct Chosen {
    order: Vec<Suite>,
    forbidden: Vec<Suite>,
    tls13: Vec<CipherSuite>,
    forbidden13: Vec<CipherSuite>,
    level: u32,
    skipped: Vec<String>,
}

impl Chosen {
    fn take(&mut self, word: &str) -> Result<(), CipherError> {
        if let Some((front, command)) = word.split_once('@') {
            if !front.is_empty() {
                self.take(front)?;
            }
            return self.command(command);
        }
        let (sign, name) = match word.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+"), name)) => (sign, name),
            _ => ("", word),
        };
        if let Some((_, suite, _)) = TLS13.iter().find(|(n, ..)| *n == name) {
            match sign {
                "" => self.tls13.push(*suite),
                "!" | "-" => self.forbidden13.push(*suite),
                _ => {}
            }
            return Ok(());
        }
        let named: Vec<Suite> =
            SUITES.into_iter().filter(|s| name.split('+').all(|w| s.answers(w))).collect();
        match sign {
            "" if named.is_empty() => self.skipped.push(word.chars().take(64).collect()),
            "" => {
                let new = |s: &Suite| !self.order.contains(s) && !self.forbidden.contains(s);
                let new: Vec<Suite> = named.into_iter().filter(new).collect();
                self.order.extend(new);
            }
            "+" => {
                let moved: Vec<Suite> =
                    self.order.iter().copied().filter(|s| named.contains(s)).collect();
                self.order.retain(|s| !named.contains(s));
                self.order.extend(moved);
            }
            sign => {
                self.order.retain(|s| !named.contains(s));
                if sign == "!" {
                    self.forbidden.extend(named);
                }
            }
        }
        Ok(())
    }

    fn command(&mut self, command: &str) -> Result<(), CipherError> {
        let unknown = || CipherError::Command(format!("@{command}"));
        if command == "STRENGTH" {
            self.order.sort_by_key(|s| std::cmp::Reverse(s.bits));
            return Ok(());
        }
        let level = command.strip_prefix("SECLEVEL=").and_then(|n| n.parse().ok());
        self.level = level.filter(|n| *n <= MAX_LEVEL).ok_or_else(unknown)?;
        Ok(())
    }

    fn finish(self, list: &str) -> Result<Ciphers, CipherError> {
        // Levels are in bits of security (SSL_CTX_set_security_level(3)): AES-128 goes at level 4.
        let strong = |bits: u32| bits >= 192 || self.level < 4;
        let tls13 = TLS13.iter().filter(|(_, suite, bits)| {
            (self.tls13.is_empty() || self.tls13.contains(suite))
                && !self.forbidden13.contains(suite)
                && strong(*bits)
        });
        let tls12: Vec<_> = self.order.iter().filter(|s| strong(s.bits)).collect();
        // Without a word about TLS 1.3 a list that leaves nothing of TLS 1.2 is a mistake, as with OpenSSL.
        let nothing = tls12.is_empty() && self.tls13.is_empty();
        let wanted = tls13.map(|(_, suite, _)| *suite).chain(tls12.iter().map(|s| s.suite));
        let suites: Vec<_> = wanted.filter_map(supported).collect();
        if nothing || suites.is_empty() {
            return Err(CipherError::NothingLeft(list.chars().take(256).collect()));
        }
        Ok(Ciphers { suites, skipped: self.skipped })
    }
}

/// The library's suite, but for the bound on records.
fn supported(suite: CipherSuite) -> Option<SupportedCipherSuite> {
    static PATIENT: LazyLock<Vec<Tls12CipherSuite>> = LazyLock::new(|| {
        let tls12 = |s: &SupportedCipherSuite| match s {
            SupportedCipherSuite::Tls12(suite) => Some(patient(suite)),
            SupportedCipherSuite::Tls13(_) => None,
        };
        ALL_CIPHER_SUITES.iter().filter_map(tls12).collect()
    });
    if let Some(found) = PATIENT.iter().find(|s| s.common.suite == suite) {
        return Some(SupportedCipherSuite::Tls12(found));
    }
    ALL_CIPHER_SUITES.iter().copied().find(|s| s.suite() == suite)
}

fn patient(suite: &'static Tls12CipherSuite) -> Tls12CipherSuite {
    let Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg } = suite;
    let common = CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: common.confidentiality_limit.max(TLS12_RECORDS),
    };
    Tls12CipherSuite { common, prf_provider: *prf_provider, kx: *kx, sign, aead_alg: *aead_alg }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        let chosen = choose(Some(list)).unwrap();
        let name = |s: &SupportedCipherSuite| {
            let twelve = SUITES.iter().find(|t| t.suite == s.suite()).map(|t| t.name);
            twelve.or_else(|| TLS13.iter().find(|t| t.1 == s.suite()).map(|t| t.0)).unwrap()
        };
        chosen.suites.iter().map(name).collect()
    }

    /// The suites of TLS 1.2 in their order, shortened; all of TLS 1.3 stand before them.
    fn twelve(list: &str) -> String {
        let all = names(list);
        assert_eq!(all[..3], TLS13.map(|t| t.0), "{list}");
        let letter = |n: &&str| SUITES.iter().position(|s| s.name == *n).unwrap().to_string();
        all[3..].iter().map(letter).collect()
    }

    #[test]
    fn lists_mean_what_openssl_says() {
        // Numbers: places in SUITES. Checked against `openssl ciphers -v LIST` of 3.0, its other suites left out.
        for (list, suites) in [
            ("DEFAULT", "012345"),
            ("HIGH:!aNULL:!MD5", "012345"),
            ("ALL:!COMPLEMENTOFDEFAULT:!eNULL", "012345"),
            ("HIGH:!aECDSA", "135"),
            ("kECDHE+AESGCM", "0145"),
            ("ECDHE+AESGCM:ECDHE+CHACHA20", "014523"),
            ("AES128:ALL", "450123"),
            ("ALL:+AES256", "234501"),
            ("ALL:-CHACHA20:CHACHA20", "014523"),
            ("ALL:!CHACHA20:CHACHA20", "0145"),
            ("AES128:AES256:@STRENGTH", "0145"),
            ("ECDHE-RSA-AES128-GCM-SHA256", "5"),
            ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "1"),
            ("AES256-SHA:nonsense:ECDHE-RSA-AES256-GCM-SHA384,AES128-SHA", "1"),
            ("DEFAULT@SECLEVEL=0", "012345"),
            ("DEFAULT:@SECLEVEL=2", "012345"),
            ("PROFILE=SYSTEM", "012345"),
        ] {
            assert_eq!(twelve(list), suites, "{list}");
        }
    }

    #[test]
    fn tls_1_3_is_chosen_by_name_alone() {
        assert_eq!(names("TLS_AES_128_GCM_SHA256"), ["TLS_AES_128_GCM_SHA256"]);
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:TLS_CHACHA20_POLY1305_SHA256"),
            ["TLS_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(names("DEFAULT:!TLS_AES_128_GCM_SHA256").len(), 8);
        let level4 = names("DEFAULT:@SECLEVEL=4");
        assert!(level4.len() == 6 && level4.iter().all(|n| !n.contains("128")), "{level4:?}");
    }

    #[test]
    fn what_leaves_nothing_is_refused() {
        for list in
            ["", "AES256-SHA", "RC4:3DES", "!ALL", "DEFAULT:!ALL", "kRSA+AESGCM", "nonsense"]
        {
            let error = choose(Some(list)).unwrap_err();
            assert_eq!(error, CipherError::NothingLeft(list.to_owned()));
        }
        for list in ["DEFAULT:@SECLEVEL=6", "DEFAULT:@SECLEVEL=", "DEFAULT@FOO", "@SECLEVEL=-1"] {
            assert!(matches!(choose(Some(list)), Err(CipherError::Command(_))), "{list}");
        }
        assert_eq!(choose(Some(&"A".repeat(5000))).unwrap_err(), CipherError::TooLong);
        assert_eq!(choose(Some("HIGH:FOO:!BAR")).unwrap().skipped, ["FOO"]);
    }

    #[test]
    fn no_suite_of_tls_1_2_ends_after_a_few_days() {
        for suite in choose(None).unwrap().suites {
            if let SupportedCipherSuite::Tls12(suite) = suite {
                assert!(suite.common.confidentiality_limit >= TLS12_RECORDS, "{suite:?}");
            }
        }
    }
}
