//! What can go wrong between us and Redis.

use std::time::Duration;

use crate::TlsError;

/// Why a Redis operation gave no answer. No variant is an answer: the caller must treat the matter
/// as undecided, which for a permission means refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configured URL can't be used.
    #[error("the Redis URL must be redis://host[:port], rediss://host[:port] or unix:///path: {0}")]
    Url(&'static str),

    /// TLS can't be set up.
    #[error("TLS to Redis can't be set up")]
    Tls(#[source] TlsError),

    /// It is another kind of server than the one that the databases need.
    #[error("{}", .0.advice())]
    Kind(ServerKind),

    /// No connection could be made, or it broke twice in a row.
    #[error("Redis can't be reached (database {database})")]
    Unreachable {
        /// The database's number.
        database: u8,
        /// What the connection said.
        #[source]
        source: redis::RedisError,
    },

    /// Redis did not answer in time.
    #[error("Redis gave no answer within {timeout:?} (database {database})")]
    TimedOut {
        /// The database's number.
        database: u8,
        /// How long we waited.
        timeout: Duration,
    },

    /// Redis is there and refused: it is loading, out of memory, or our user may not.
    #[error("Redis refused the operation (database {database})")]
    Refused {
        /// The database's number.
        database: u8,
        /// What Redis said.
        #[source]
        source: redis::RedisError,
    },

    /// Redis may throw away what it was told to keep, so the absence of an entry means nothing.
    #[error(
        "Redis may evict entries (database {database}): its maxmemory-policy is {policy}, it has to \
         be noeviction"
    )]
    Evicting {
        /// The database's number.
        database: u8,
        /// The policy.
        policy: String,
    },

    /// Redis answered something that the operation can't mean.
    #[error("Redis answered something unexpected (database {database}): {what}")]
    Unexpected {
        /// The database's number.
        database: u8,
        /// What was unexpected.
        what: &'static str,
    },
}

/// What a Redis server can be that is of no use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// A node of Redis Cluster.
    Cluster,
    /// A Sentinel.
    Sentinel,
}

impl ServerKind {
    /// What it is and what to do.
    fn advice(self) -> &'static str {
        match self {
            Self::Cluster => {
                "this Redis is a node of a Redis Cluster, which has one database where six are needed: \
                 use a single Redis, with a replica if it must survive"
            }
            Self::Sentinel => {
                "this is a Redis Sentinel, which holds no data: name the address that follows its \
                 master (a proxy or a DNS name), since Sentinel itself is not asked"
            }
        }
    }
}
