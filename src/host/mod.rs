//! The machine or container around each server: CPU, memory, pressure, load, and the space of its
//! directories, where the agent stands beside it; elsewhere the reason why they cannot be seen.
//!
//! Whether the agent stands there is proven, not assumed (`locate`): by a connection whose two ends agree,
//! by the server's process, by the control file in its data directory. `text` reads what the kernel writes,
//! `files` fetches it, `cgroup` and `machine` make figures of it, `volume` measures directories; all of them
//! take their roots as parameters, so that a node's pods can be read the same way. `report` turns figures
//! into families, with what the server itself says of its `sizes`. Whatever touches a file system runs in a `lane`, which may get stuck without holding up
//! anything but itself; the `watcher` owns the lanes.

mod cgroup;
#[cfg(test)]
mod cgroup_tests;
mod directories;
mod files;
mod lane;
mod locate;
mod machine;
mod reading;
mod report;
mod sizes;
mod text;
mod volume;
mod watcher;

pub use watcher::Watcher;
