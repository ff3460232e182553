//! The block `host`: where the machine around the servers is seen.
//!
//! | key | default |
//! | --- | --- |
//! | `proc` | `/proc` |
//! | `cgroup` | `/sys/fs/cgroup` |
//! | `root` | `/` |

use super::Host;
use super::walk::{Item, quoted};

pub(super) const KEYS: &[&str] = &["proc", "cgroup", "root"];

pub(super) fn read(item: Option<Item<'_>>) -> Host {
    let mut host = Host::default();
    let Some(block) = item.and_then(|item| item.block(KEYS)) else { return host };
    for (key, to) in
        [("proc", &mut host.proc), ("cgroup", &mut host.cgroup), ("root", &mut host.root)]
    {
        let Some(item) = block.get(key) else { continue };
        let Some(path) = item.file() else { continue };
        // What is missing shows in the metrics too; here it can still be a slip of the pen.
        if !path.is_dir() {
            let what = format!("{} is no directory that this agent sees", quoted(item.path()));
            item.warn(what, "mount it there, or correct the path");
        }
        *to = path;
    }
    host
}
