//! Every test that drives the built binary or crosses rooms, one module a subject.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail, and say so")]

mod assembling; // records made up, written as the server does, read back
mod backups; // files, programs and dumps that tell of backups
mod boards; // dashboards and alert rules
mod check; // what `pgvigil check` finds out about servers
mod config; // configuration files and what is said about them
mod collect; // scrapes of real servers: outages, locks, bad queries
mod endurance; // thousands of rotations and files, outages, a slow Loki
mod examples; // a user's own pack, as its README tells it
mod export; // what is made for other programs, tried on them
mod exposition; // pages: golden files, promtool, an independent reader
mod crowd; // logs of pods and containers: found, read and left
mod faults; // what goes wrong, told and survived
mod fuzz; // broken logs by a seeded generator
mod formats; // csv, json and wrappers: the same records as the text log
mod http; // endpoints, limits, TLS and users of the door
mod host; // the machine around a server
mod logs; // the log river: rotation, restarts, routes, the local store
mod logs_model; // random schedules of writing, rotation, kills and faults
mod long; // statements longer than a record may be
mod loki; // pushing: answers of every kind, outages, a real Loki
mod metrics_page; // queries/METRICS.md is what the packs say
mod pgaudit; // the real pgaudit: its records in every format, masked
mod pgbouncer; // a pooler by its console, and the latency through it
mod packs; // the built-in packs on every major, and the traps that they walk around
mod routes; // who reads what of a real log
mod records; // logs to records, masked: fixtures
mod packs_foreign; // files of other programs, unmodified, and the packs that repeat their names
mod retention; // whether Loki keeps records as long as configured
mod secrets; // no output holds a password
mod sessions; // sessions with real servers, TLS, budgets
mod support; // real servers, the built binary, readers of pages
mod tidy; // imports between rooms, length of files, the dependency tree
mod ways; // the ways to Loki: TLS, client certificates, proxies
mod whole; // the built binary from one end to the other, on real servers
