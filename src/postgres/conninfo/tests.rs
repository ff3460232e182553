//! Connection strings good and bad, and properties over all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn read(dsn: &str) -> ConnInfo {
    ConnInfo::parse(dsn).unwrap_or_else(|problem| panic!("{dsn}: {problem}"))
}

fn refusal(dsn: &str) -> String {
    ConnInfo::parse(dsn).err().unwrap_or_else(|| panic!("{dsn} is accepted"))
}

fn hosts(dsn: &str) -> String {
    let shown = read(dsn).hosts.into_iter().map(|h| {
        let address = h.hostaddr.map(|a| format!("={a}")).unwrap_or_default();
        format!("{}{address}:{}", h.host.as_deref().unwrap_or("-"), h.port)
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn hosts_in_every_spelling() {
    for (dsn, expected) in [
        ("", "-:5432"),
        ("postgresql://", "-:5432"),
        ("postgres:///shop", "-:5432"),
        ("postgresql://db1", "db1:5432"),
        ("postgresql://db1:5433/shop", "db1:5433"),
        ("postgresql://u@db1,db2:5434,db3/x", "db1:5432 db2:5434 db3:5432"),
        ("postgresql://[::1]:6000,[fe80::1%25eth0]", "::1:6000 fe80::1%eth0:5432"),
        ("postgresql://%2Fvar%2Frun%2Fpostgresql/shop", "/var/run/postgresql:5432"),
        ("postgresql:///shop?host=/tmp&port=6000", "/tmp:6000"),
        ("postgresql://a/?host=b", "b:5432"),
        ("postgresql://a:1,b:2/?port=7", "a:7 b:7"),
        ("host=db1 port=5433", "db1:5433"),
        ("  host = db1   port='5433'  ", "db1:5433"),
        ("host=a,b,c port=1,,3", "a:1 b:5432 c:3"),
        ("host=db1 hostaddr=10.0.0.1", "db1=10.0.0.1:5432"),
        ("hostaddr=10.0.0.1,::1 port=9", "-=10.0.0.1:9 -=::1:9"),
        ("host=@abstract", "@abstract:5432"),
        ("host=''", "-:5432"),
        ("host=a host=b", "b:5432"),
    ] {
        assert_eq!(hosts(dsn), expected, "{dsn}");
    }
}

#[test]
fn values_in_every_spelling() {
    let uri = read(
        "postgresql://us%65r:p%40ss%2F%3A%25@h/my%20db?sslmode=verify-full&application_name=a%26b",
    );
    assert_eq!(uri.user.as_deref(), Some("user"));
    assert_eq!(uri.dbname.as_deref(), Some("my db"));
    assert_eq!(uri.application_name.as_deref(), Some("a&b"));
    assert_eq!(uri.sslmode, Some(SslMode::VerifyFull));
    assert!(uri.password.is_some_and(|p| p.expose() == "p@ss/:%"));

    let words = read(
        r"user=a\ b password='it\'s \\ here' dbname = x options='-c geqo=off'connect_timeout=7",
    );
    assert_eq!(words.user.as_deref(), Some("a b"));
    assert_eq!(words.options.as_deref(), Some("-c geqo=off"));
    assert_eq!(words.connect_timeout, Some(Duration::from_secs(7)));
    assert!(words.password.is_some_and(|p| p.expose() == r"it's \ here"));

    assert!(read("postgres://u:@h").password.is_none(), "an empty password is none");
    assert!(read("postgres://u:p?q#r@h").password.is_some_and(|p| p.expose() == "p?q#r"));
    assert_eq!(read("postgres://h/?user=a@azure").user.as_deref(), Some("a@azure"));
    assert_eq!(read("postgres://h/?ssl=true").sslmode, Some(SslMode::Require));
    assert_eq!(read("connect_timeout=0").connect_timeout, None);
    for mode in SslMode::ALL {
        assert_eq!(read(&format!("sslmode={}", mode.as_str())).sslmode, Some(mode));
    }
    let tls = read(
        "sslrootcert=system sslcert=/a/c.crt sslkey=/a/c.key sslnegotiation=direct \
                    ssl_min_protocol_version=TLSv1.3 channel_binding=require sslcertmode=disable",
    );
    assert_eq!(tls.sslrootcert, Some("system".into()));
    assert!(tls.direct_tls && tls.tls13_only && tls.no_client_certificate);
    assert_eq!(tls.channel_binding, ChannelBinding::Require);
    let harmless = "keepalives=1 keepalives_idle=3 gssencmode=prefer target_session_attrs=any \
                    tcp_user_timeout=5 client_encoding=auto load_balance_hosts=disable";
    assert!(ConnInfo::parse(harmless).is_ok());
}

#[test]
fn refusals_say_what_and_what_to_do() {
    for (dsn, what) in [
        ("hostt=a", "`hostt` is no keyword"),
        ("postgresql://h/?sslmod=x", "`sslmod` is no keyword"),
        ("sslmode=verify", "use one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("host=a,b port=1,2,3", "3 ports for 2 hosts"),
        ("host=a,b hostaddr=::1", "2 hosts and 1 hostaddr"),
        ("hostaddr=db1", "`hostaddr` is no IP address"),
        ("port=0", "`port` is no number"),
        ("port=65536", "`port` is no number"),
        ("connect_timeout=soon", "`connect_timeout` is no whole number"),
        ("host=a b", "has no `=`"),
        ("host='a", "`host` in the connection string has no closing quote"),
        ("postgresql://[::1", "no closing `]`"),
        ("postgresql://[]/", "are empty"),
        ("postgresql://[::1]x/", "behind the `]`"),
        ("postgresql://h%2/", "two hexadecimal digits"),
        ("postgresql://h%00/", "%00"),
        ("postgresql://%ff/", "not UTF-8"),
        ("postgresql://a%2Cb/", "encoded comma"),
        ("postgresql://h/?host", "has no `=`"),
        ("postgresql://h/?user=a=b", "bare `=`"),
        ("mysql://u:p@h", "URI of another kind"),
        ("host=a\0b", "zero byte"),
        ("service=x", "`service` in a connection string is not supported"),
        ("sslpassword=x", "without a passphrase"),
        ("target_session_attrs=primary", "an instance of its own"),
        ("requirepeer=postgres", "`requirepeer`"),
        ("gssencmode=require", "use TLS"),
    ] {
        let said = refusal(dsn);
        assert!(said.contains(what), "{dsn}: {said}");
        assert!(
            said.contains(';') && !said.contains(". "),
            "{dsn}: no sentence with remedy: {said}"
        );
    }
}

#[test]
fn no_refusal_tells_the_password() {
    for dsn in [
        "postgres://u:SECRET@SECRET@h/db",
        "postgres://u:SECRET/SECRET@h/db",
        "postgres://u:1234/SECRET@h/db",
        "postgres://u:1234/x?secret=SECRET@h/db",
        "postgres://u:SECRET%@h/db",
        "postgres://u:SECRET%ff@h/db",
        "postgres://u:SECRET@h:SECRET/db",
        "postgres://h/?password=SECRET&secret=x",
        "postgres://h/?password=SECRET=",
        "postgres://h/?password=SECRET&secret",
        "postgress://u:SECRET@h/db",
        "u:SECRET@h/db?sslmode=require",
        "host=h password=SECRET secret=a",
        "host=h password=SECRET secret",
        "host=h password='SECRET",
        "host=h password='SECRET'secret'",
        "password=SECRET port=SECRET",
        "password=SECRET sslmode=SECRET",
        "sslpassword=SECRET",
        "SECRET",
        "postgres://[SECRET",
    ] {
        let said = refusal(dsn).to_ascii_lowercase();
        assert!(!said.contains("secret"), "{dsn}: {said}");
    }
}

#[test]
fn the_environment_fills_gaps_only() {
    let variables = BTreeMap::from([
        ("PGHOST", "envhost"),
        ("PGHOSTADDR", "10.9.9.9"),
        ("PGPORT", "7777"),
        ("PGUSER", "envuser"),
        ("PGPASSWORD", "envpassword"),
        ("PGPASSFILE", "/env/pass"),
        ("PGDATABASE", "envdb"),
        ("PGSSLMODE", "require"),
        ("PGSSLROOTCERT", "/env/root"),
        ("PGSSLCERT", "/env/cert"),
        ("PGSSLKEY", "/env/key"),
        ("PGCONNECT_TIMEOUT", "9"),
    ]);
    let environment = |name: &str| variables.get(name).map(|v| (*v).to_owned());
    let filled = read("").fill(&environment).unwrap_or_else(|e| panic!("{e}"));
    let spelled = read(
        "host=envhost hostaddr=10.9.9.9 port=7777 user=envuser password=envpassword \
         passfile=/env/pass dbname=envdb sslmode=require sslrootcert=/env/root sslcert=/env/cert \
         sslkey=/env/key connect_timeout=9",
    );
    assert!(filled == spelled);

    let own = read("postgres://me:mine@db1/shop?sslmode=disable");
    let filled = own.fill(&environment).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((filled.address(), filled.hosts[0].hostaddr), (("db1".into(), 7777), None));
    assert_eq!((filled.user.as_deref(), filled.sslmode), (Some("me"), Some(SslMode::Disable)));
    assert!(filled.password.is_some_and(|p| p.expose() == "mine"));

    for (name, value) in [("PGSERVICE", "x"), ("PGPORT", "SECRET"), ("PGREQUIREPEER", "x")] {
        let problem = read("").fill(&|n| (n == name).then(|| value.to_owned())).err();
        let problem = problem.unwrap_or_else(|| panic!("{name} is accepted"));
        assert!(problem.contains(name) && !problem.contains("SECRET"), "{problem}");
    }
}

#[test]
fn local_is_loopback_or_a_socket() {
    for (dsn, local) in [
        ("", true),
        ("host=/tmp", true),
        ("host=localhost", true),
        ("host=127.0.0.1", true),
        ("host=::1", true),
        ("hostaddr=127.0.0.2", true),
        ("host=localhost hostaddr=10.0.0.1", false),
        ("host=db1", false),
        ("host=localhost,db1", false),
    ] {
        assert_eq!(read(dsn).is_local(), local, "{dsn}");
    }
}

#[test]
fn a_password_on_the_command_line_is_seen() {
    for dsn in [
        "postgres://u:p@h",
        "password=x",
        "postgres://h/?password=x",
        "u:p@h",
        "postgres://u:p@q@h",
    ] {
        assert!(password_in_argument(dsn), "{dsn}");
    }
    for dsn in ["", "postgres://u@h/db", "host=h user=u", "postgres://u:@h", "passfile=/x/pass"] {
        assert!(!password_in_argument(dsn), "{dsn}");
    }
}

#[test]
fn password_file() {
    let file = "#db:5432:*:*:comment\n\
                db:5433:*:*:other port\n\
                short:line\n\
                db:5432:shop:al\\:ice:pa\\:ss\\\\w:tail\r\n\
                *:*:*:bob:star\n\
                \\*:*:*:eve:literal\n";
    let find = |host, port, database, user| {
        password_from(file, host, port, database, user).map(|p| p.expose().to_owned())
    };
    assert_eq!(find("db", 5432, "shop", "al:ice").as_deref(), Some("pa:ss\\w"));
    assert_eq!(find("db", 5433, "x", "y").as_deref(), Some("other port"));
    assert_eq!(find("elsewhere", 1, "x", "bob").as_deref(), Some("star"));
    assert_eq!(find("elsewhere", 1, "x", "eve"), None);
    assert_eq!(find("db", 5432, "shop", "alice"), None);
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn encoded(value: &str) -> String {
    value.bytes().map(|b| format!("%{b:02x}")).collect()
}

proptest! {
    #[test]
    fn never_panics(dsn in "\\PC{0,60}", tail in "[a-z=&?@:/%'\\\\ \\[\\],.]{0,40}") {
        for start in ["", "postgres://", "host="] {
            let dsn = format!("{start}{dsn}{tail}");
            if let Ok(info) = ConnInfo::parse(&dsn) {
                prop_assert!(!info.hosts.is_empty());
            }
            password_in_argument(&dsn);
        }
    }

    #[test]
    fn both_spellings_say_the_same(
        user in "\\PC{1,12}", password in "\\PC{1,12}", database in "\\PC{1,12}",
        name in "[a-z/@.-]{1,12}", port in 1u16..,
    ) {
        let words = format!(
            "user={} password={} dbname={} host={} port={port}",
            quoted(&user), quoted(&password), quoted(&database), quoted(&name),
        );
        let uri = format!(
            "postgres://{}:{}@{}:{port}/{}",
            encoded(&user), encoded(&password), encoded(&name), encoded(&database),
        );
        let (words, uri) = (read(&words), read(&uri));
        prop_assert!(words == uri);
        prop_assert_eq!(uri.address(), (name, port));
        prop_assert_eq!(uri.user, Some(user));
        prop_assert_eq!(uri.dbname, Some(database));
        prop_assert!(uri.password.is_some_and(|p| p.expose() == password));
    }

    /// However badly a password is written, no piece of it (each piece holds a 7) is told.
    #[test]
    fn no_piece_of_a_password_is_told(password in "(7|7[@:/?&=%#'\\\\ \\[\\],]|secret7){1,6}") {
        for dsn in [
            format!("postgres://u:{password}@h/db"),
            format!("postgres://h/db?user=u&password={password}&sslmode=wrong"),
            format!("host=h password={password} sslmode=wrong"),
            format!("host=h password='{password}' sslmode=wrong"),
            format!("postgrs://u:{password}@h/db"),
        ] {
            if let Err(said) = ConnInfo::parse(&dsn) {
                prop_assert!(!said.contains('7') && !said.contains("secret"), "{}: {}", dsn, said);
            }
        }
    }
}
