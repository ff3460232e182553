//! The block `http`: where the door stands.
//!
//! | key | default |
//! | --- | --- |
//! | `listen` | `127.0.0.1:9187` |
//! | `web_config_file` | none: plain HTTP, no users |

use std::net::SocketAddr;

use super::problem::why;
use super::walk::{Item, Walk, quoted};
use super::{Http, Place};

pub(super) const KEYS: &[&str] = &["listen", "web_config_file"];

/// The port that the ecosystem expects of a PostgreSQL exporter.
const DEFAULT: &str = "127.0.0.1:9187";
const REMEDY: &str = "write ADDRESS:PORT, such as 127.0.0.1:9187 or [::1]:9187";

/// Reads the block; addresses from the command line take the place of the file's.
pub(super) fn read(walk: &Walk<'_>, item: Option<Item<'_>>, flags: &[String]) -> Http {
    let block = item.and_then(|item| item.block(KEYS));
    let mut listen: Vec<(SocketAddr, Place)> = Vec::new();
    for item in block.iter().filter_map(|block| block.get("listen")).flat_map(|item| item.list()) {
        if let Some(address) = item.parsed(REMEDY, address) {
            listen.push((address, item.place()));
        }
    }
    if !flags.is_empty() {
        listen.clear();
    }
    for text in flags {
        match address(text) {
            Ok(address) => listen.push((address, Place::default())),
            Err(why) => walk.fatal(Place::default(), format!("--listen {text} {why}"), REMEDY),
        }
    }
    let mut taken: Vec<SocketAddr> = Vec::new();
    for (address, place) in listen {
        // Port 0 is another one each time.
        if taken.contains(&address) && address.port() != 0 {
            let what = format!("{} is listened on twice", quoted(&address.to_string()));
            walk.fatal(place, what, "remove one of the two");
        } else {
            taken.push(address);
        }
    }
    if taken.is_empty() {
        taken.extend(DEFAULT.parse::<SocketAddr>());
    }

    let web_config = block.as_ref().and_then(|block| block.get("web_config_file"));
    let web_config_file = web_config.and_then(|item| {
        let path = item.file()?;
        if let Err(e) = std::fs::File::open(&path) {
            let what = format!("cannot read {} ({})", path.display(), why(&e));
            item.fatal(what, "write it in exporter-toolkit's format, or remove the key");
        }
        Some(path)
    });
    Http { listen: taken, web_config_file }
}

/// `ADDRESS:PORT`; `localhost` is taken as 127.0.0.1, `:PORT` as any IPv4 address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = match text.rsplit_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    full.parse().map_err(|_| "is no IP address and port".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(address(":9187").unwrap().to_string(), "0.0.0.0:9187");
        assert_eq!(address("localhost:1").unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(address("[::]:1").unwrap().to_string(), "[::]:1");
        for wrong in ["", "9187", "db1:9187", "127.0.0.1", "127.0.0.1:99999", "::1:9187:"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
