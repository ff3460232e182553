//! Sessions with PostgreSQL: who is asked, with which certificates, how many at once, and how one
//! statement runs so that it can never hurt the server.
//!
//! `target` reads the connection string, `tls` what encryption it asks for, `login` what else; `connect`
//! opens a session or says in one sentence why there is none. Each socket holds a place in a `budget`
//! until the server has closed it, also one that we gave up. A `session` runs one statement at a time, `rows`
//! stops reading at the caps, `interrupt` cancels what is late, and `facts` learns what the server is.
//! With PgBouncer's console, and through PgBouncer, a session is plain: `console`.

mod budget;
mod cancel;
mod connect;
mod console;
mod facts;
mod failure;
mod login;
mod place;
mod pooler;
mod rows;
mod session;
mod socket;
mod target;
mod tls;
mod wire;

pub use budget::{Budgets, SESSIONS};
pub use connect::{CertificateSeen, Connector};
pub use failure::ConnectError;
pub use rows::{Column, Rows};
pub use session::{Limits, QueryError, SEARCH_PATH, Session};
