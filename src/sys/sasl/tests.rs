//! Both ends of the library against each other, with a file of users of the test's own.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulong, c_void};
use std::io::Write;
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::OnceLock;

use super::callbacks::Callback;
use super::client::Client;
use super::*;

pub(crate) const USER: &str = "anna";
pub(crate) const PASSWORD: &str = "geheim";

type GetOption = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    *const c_char,
    *mut *const c_char,
    *mut c_uint,
) -> c_int;

/// Takes the place of a configuration file: `SASL_CB_GETOPT`.
pub(super) const GET_OPTION: Callback = Callback {
    id: 1 as c_ulong,
    // SAFETY: function pointers both; the library knows the type by the id.
    function: Some(unsafe {
        std::mem::transmute::<GetOption, unsafe extern "C" fn() -> c_int>(get_option)
    }),
    context: ptr::null_mut(),
};

static DATABASE: OnceLock<Option<CString>> = OnceLock::new();

unsafe extern "C" fn get_option(
    _: *mut c_void,
    _: *const c_char,
    option: *const c_char,
    result: *mut *const c_char,
    length: *mut c_uint,
) -> c_int {
    // SAFETY: the library passes a name.
    let option = unsafe { CStr::from_ptr(option) };
    let database = DATABASE.get().and_then(Option::as_deref);
    let value = match option.to_bytes() {
        b"sasldb_path" => database,
        b"auxprop_plugin" => Some(c"sasldb"),
        b"pwcheck_method" => Some(c"auxprop"),
        b"mech_list" => Some(c"digest-md5 plain scram-sha-256 anonymous"),
        _ => None,
    };
    let Some(value) = value else { return FAIL };
    // SAFETY: a place for the answer, which lives for ever.
    unsafe { *result = value.as_ptr() };
    if !length.is_null() {
        // SAFETY: not NULL.
        unsafe { *length = c_uint::try_from(value.count_bytes()).unwrap_or(0) };
    }
    OK
}

fn make_database() -> Option<CString> {
    let path = std::env::temp_dir().join(format!("cayenne-sasl-{}.db", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let name = Command::new("hostname").arg("-f").output().ok()?.stdout;
    let realm = String::from_utf8(name).ok()?;
    let mut child = Command::new("saslpasswd2")
        .args(["-c", "-p", "-u", realm.trim(), "-f"])
        .args([path.as_os_str(), USER.as_ref()])
        .stdin(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(PASSWORD.as_bytes()).ok()?;
    child.wait().ok().filter(std::process::ExitStatus::success)?;
    CString::new(path.into_os_string().into_encoded_bytes()).ok()
}

/// True if the library and its tools are there; the users are made then.
pub(crate) fn ready() -> bool {
    static STARTED: OnceLock<bool> = OnceLock::new();
    let there = *STARTED.get_or_init(|| {
        let made = DATABASE.get_or_init(make_database).is_some();
        let there = made && super::start("cayenne-test", |_, _| {}).is_ok();
        if there {
            super::client::start();
        }
        there
    });
    if !there {
        // Not `eprintln!`, which cargo captures.
        let _ = writeln!(std::io::stderr(), "SKIPPED 1: libsasl2 or saslpasswd2 is not installed");
    }
    there
}

/// A whole exchange; the server's last word.
fn log_in(server: &mut Context, client: &mut Client, mechanism: &str) -> Result<(), Error> {
    let first = client.start(mechanism)?;
    let mut answer = server.start(mechanism, first.as_deref())?;
    loop {
        answer = match answer {
            Progress::Done(last) => {
                if let Some(last) = last {
                    client.step(Some(&last))?;
                }
                return Ok(());
            }
            Progress::Continue(data) => {
                let (Progress::Continue(more) | Progress::Done(more)) =
                    client.step(data.as_deref())?;
                server.step(more.as_deref())?
            }
        };
    }
}

pub(crate) fn server(external_ssf: u32) -> Context {
    Context::new(&Peer { external_ssf, ..Peer::default() }).expect("a context")
}

/// Both ends after a DIGEST-MD5 login.
pub(crate) fn layered() -> (Context, Client) {
    let (mut server, mut client) = (server(0), Client::new(USER, PASSWORD, 0));
    log_in(&mut server, &mut client, "DIGEST-MD5").expect("the password is right");
    (server, client)
}

#[test]
fn plain_passwords_need_tls_and_anonymous_logins_are_never_on_offer() {
    if !ready() {
        return;
    }
    let list = server(0).mechanisms().expect("a list");
    assert_eq!(list, ",DIGEST-MD5,");
    let list = server(256).mechanisms().expect("a list");
    let has = |name| list.contains(&format!(",{name},"));
    assert!(has("PLAIN") && has("SCRAM-SHA-256") && has("DIGEST-MD5"), "{list}");
    assert!(!has("ANONYMOUS"), "{list}");
    assert!(server(0).start("ANONYMOUS", Some(b"me")).is_err());
    assert!(server(0).start("PLAIN", Some(b"\0anna\0geheim")).is_err());
}

#[test]
fn right_passwords_log_in_with_the_layer_that_is_due() {
    if !ready() {
        return;
    }
    for (mechanism, external, least) in [
        ("PLAIN", 256, 0),
        ("SCRAM-SHA-256", 256, 0),
        ("DIGEST-MD5", 256, 0),
        ("DIGEST-MD5", 0, 56),
    ] {
        let (mut server, mut client) = (server(external), Client::new(USER, PASSWORD, external));
        log_in(&mut server, &mut client, mechanism).expect(mechanism);
        let user = server.user().expect("a name");
        assert!(user.starts_with(USER), "{user}");
        let ssf = server.ssf();
        assert!(if least == 0 { ssf == 0 } else { ssf >= least }, "{mechanism}: {ssf}");
        assert_eq!(client.context.ssf(), ssf);
    }
}

#[test]
fn wrong_passwords_unknown_users_and_nonsense_fail() {
    if !ready() {
        return;
    }
    for (mechanism, external) in [("PLAIN", 256), ("SCRAM-SHA-256", 256), ("DIGEST-MD5", 0)] {
        for (user, password) in [(USER, "falsch"), ("otto", PASSWORD), (USER, "x")] {
            let (mut server, mut client) =
                (server(external), Client::new(user, password, external));
            let failed = log_in(&mut server, &mut client, mechanism).expect_err(user);
            assert!(failed.code < 0, "{failed}");
        }
        let mut server = server(external);
        let nonsense = Some(&b"\0\xff\0"[..]);
        // DIGEST-MD5 asks first, whatever comes along.
        let said = match server.start(mechanism, nonsense) {
            Ok(Progress::Continue(_)) => server.step(nonsense),
            other => other,
        };
        assert!(said.is_err(), "{mechanism}: {said:?}");
    }
}

#[test]
fn what_comes_in_the_wrong_order_never_reaches_the_library() {
    if !ready() {
        return;
    }
    let mut fresh = server(0);
    assert!(fresh.step(Some(b"x")).is_err());
    assert!(fresh.encode(b"x").is_err() && fresh.decode(b"x").is_err());
    assert_eq!((fresh.ssf(), fresh.max_out(), fresh.user()), (0, 0, None));
    assert!(fresh.start("NO-SUCH", None).is_err());
    assert!(fresh.start("DIGEST-MD5", None).is_err() && fresh.step(None).is_err());
    let mut going = server(0);
    assert!(matches!(going.start("DIGEST-MD5", None), Ok(Progress::Continue(Some(_)))));
    assert!(going.start("DIGEST-MD5", None).is_err());
    assert!(going.encode(b"x").is_err());
    assert!(going.step(Some(b"nonsense")).is_err() && going.step(Some(b"nonsense")).is_err());
    let (mut done, _client) = layered();
    assert!(done.step(None).is_err() && done.start("DIGEST-MD5", None).is_err());
}

#[test]
fn the_layer_hides_bytes_and_notices_changed_ones() {
    if !ready() {
        return;
    }
    let (mut server, mut client) = layered();
    assert!((1000..=8192).contains(&server.max_out()), "{}", server.max_out());
    let client = &mut client.context;
    let text = b"the quick brown fox".repeat(100);
    let wrapped = client.encode(&text).expect("encodes").to_vec();
    assert!(!wrapped.windows(9).any(|w| w == b"the quick"));
    assert_eq!(server.decode(&wrapped).expect("decodes"), text);
    let mut wrapped = server.encode(&text).expect("encodes").to_vec();
    assert_eq!(client.decode(&wrapped).expect("decodes"), text);
    wrapped = server.encode(&text).expect("encodes").to_vec();
    *wrapped.last_mut().expect("bytes") ^= 1;
    assert!(client.decode(&wrapped).is_err());
}
