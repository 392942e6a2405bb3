use std::process::{Command, Stdio};

use super::super::tests::PEM;
use super::super::{TlsServer, key};
use super::*;

/// What `openssl` writes, in a folder that is gone afterwards.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cayenne-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, contents: &[u8]) -> std::path::PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// All forms of keys and certificates are tried by `capi-tests/tls_files`, against openssl as the client.
#[test]
fn what_cannot_be_used_is_named() {
    let folder = Folder::new("tls-errors");
    let pem = folder.file("pem", &PEM);
    let good = TlsFiles {
        authorities: pem.clone(),
        certificates: pem.clone(),
        key: pem.clone(),
        ..TlsFiles::default()
    };
    TlsServer::load(&good).unwrap();
    let failed = |change: &dyn Fn(&mut TlsFiles)| {
        let mut files = good.clone();
        change(&mut files);
        TlsServer::load(&files).unwrap_err().to_string()
    };
    let wanted = |error: String, words: [&str; 2]| {
        assert!(words.iter().all(|w| error.contains(w)), "{error}: {words:?} expected");
    };
    wanted(failed(&|f| f.key = "/nowhere".into()), ["/nowhere", "No such file"]);
    wanted(failed(&|f| f.authorities = "/".into()), ["TLS: /", "directory"]);
    let empty = folder.file("empty", b"");
    wanted(failed(&|f| f.key = empty.clone()), ["empty", "no private key"]);
    wanted(failed(&|f| f.certificates = empty.clone()), ["empty", "no certificate"]);
    wanted(failed(&|f| f.dh = Some(empty.clone())), ["empty", "no block of DH parameters"]);
    let large = folder.file("large", &vec![b'\n'; 1024 * 1024 + 1]);
    wanted(failed(&|f| f.key = large.clone()), ["large", "larger than 1 MiB"]);
    let text = String::from_utf8(PEM.clone()).unwrap();
    let bad = folder.file("bad", text.replace("MII", "M!I").as_bytes());
    wanted(failed(&|f| f.certificates = bad.clone()), ["bad", "no proper PEM"]);
    wanted(failed(&|f| f.ciphers = Some("AES256-SHA".to_owned())), ["AES256-SHA", "ECDHE"]);
    let words = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:512 -aes256 -pass pass:secret";
    let made =
        Command::new("openssl").args(words.split(' ')).stderr(Stdio::null()).output().unwrap();
    let locked = folder.file("locked", &made.stdout);
    wanted(failed(&|f| f.key = locked.clone()), ["locked", "no password"]);
    let with = |f: &mut TlsFiles, password: &str| {
        (f.key, f.password) = (locked.clone(), Some(Password::new(password.into())));
    };
    wanted(failed(&|f| with(f, "Secret")), ["locked", "wrong password"]);
    wanted(failed(&|f| with(f, "secret")), ["locked", "1024 to 8192"]);
    assert!(!format!("{:?}", Password::new(b"secret".into())).contains("secret"));
}

#[test]
fn a_key_that_asks_for_too_much_work_is_refused() {
    let words = "genpkey -algorithm ED25519 -aes256 -pass pass:secret";
    let made =
        Command::new("openssl").args(words.split(' ')).stderr(Stdio::null()).output().unwrap();
    let block = pem::parse(&made.stdout).unwrap();
    let password = Password::new(b"secret".to_vec());
    let with = |contents: Vec<u8>| {
        let text = pem::encode(&pem::Pem::new("ENCRYPTED PRIVATE KEY", contents));
        key::private_key(text.as_bytes(), Some(&password))
    };
    let der = block.into_contents();
    assert!(with(der.clone()).is_ok());
    // 2,048 rounds: an INTEGER of two bytes. Room for four is made in it, and in all that is around it.
    let at = der.windows(4).position(|w| w == [2, 2, 8, 0]).unwrap();
    let mut greedy = der.clone();
    greedy.splice(at..at + 4, [2, 4, 5, 0, 0, 0]);
    for outer in 0..at {
        // Every SEQUENCE before the place that reaches over it grows by two bytes.
        let [0x30, size, ..] = greedy[outer..] else { continue };
        let begin = outer + if size == 0x81 { 3 } else { 2 };
        let size_at = begin - 1;
        if size <= 0x81 && begin + usize::from(greedy[size_at]) > at && begin <= at {
            greedy[size_at] += 2;
        }
    }
    let error = with(greedy).unwrap_err().to_string();
    assert!(error.contains("10 million rounds"), "{error}");
}
