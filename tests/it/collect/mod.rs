//! Collecting from real servers: what a scrape shows while the server lives, dies, hangs and locks,
//! what it costs the server, and what one bad query costs the others.

mod databases;
mod once;
mod outages;
mod queries;
mod scrapes;
mod watch;
