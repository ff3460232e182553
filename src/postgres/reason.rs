//! The closed lists of reasons; each is a metric label's value (design part 2, "Names of outcomes").

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($variant),* }

        impl $name {
            /// Every reason, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }
    };
}

reasons! {
    /// How an instance stands: the label of `pgvigil_instance_state`.
    InstanceReason {
        Ok = "ok", Starting = "starting", Refused = "refused", Unreachable = "unreachable",
        Timeout = "timeout", Authentication = "authentication", Permission = "permission",
        Database = "database", Tls = "tls", TooManyConnections = "too_many_connections",
        Budget = "budget", Unsupported = "unsupported", Error = "error",
    }
}

reasons! {
    /// How a query's last run ended: the label of `pgvigil_query_outcome`.
    QueryReason {
        Ok = "ok", Timeout = "timeout", LockTimeout = "lock_timeout", Permission = "permission",
        MissingObject = "missing_object", Type = "type", Duplicate = "duplicate",
        Truncated = "truncated", Connect = "connect", Disconnected = "disconnected",
        Unavailable = "unavailable", Error = "error",
    }
}

reasons! {
    /// Whether the machine around a server can be seen: the label of `pg_host_visible`.
    HostReason {
        Ok = "ok", Remote = "remote", NotFound = "not_found", Permission = "permission",
        Timeout = "timeout", Unsupported = "unsupported", Unknown = "unknown",
    }
}

impl InstanceReason {
    /// The reason behind a refused login (PostgreSQL manual, appendix A).
    pub fn of_sqlstate(code: &str) -> Self {
        match code {
            "57P03" => Self::Starting,
            "53300" => Self::TooManyConnections,
            "28000" | "28P01" => Self::Authentication,
            "42501" => Self::Permission,
            "3D000" | "55000" => Self::Database,
            "57P01" | "57P02" => Self::Refused,
            _ => Self::Error,
        }
    }
}

impl QueryReason {
    /// The reason behind a failed statement (PostgreSQL manual, appendix A).
    pub fn of_sqlstate(code: &str) -> Self {
        match code {
            "57014" => Self::Timeout,
            "55P03" => Self::LockTimeout,
            "42501" => Self::Permission,
            // Undefined table, object, function, column; schema and database that do not exist.
            "42P01" | "42704" | "42883" | "42703" | "3F000" | "3D000" => Self::MissingObject,
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Self::Disconnected,
            _ => Self::Error,
        }
    }
}
