//! What goes wrong, in one line each that names the cure.

use persistence::BackendError;
use scylla::errors::{ExecutionError, IntoRowsResultError, PagerExecutionError, RowsError};
use wire::DecodeError;

/// Why the store cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No node answers.
    #[error(
        "no store answers at {addresses} ({why}); start it, or set store.addresses to where it \
         listens, and store.tls_ca if it speaks TLS; what is acked waits in the log"
    )]
    Unreachable {
        /// Where it was looked for.
        addresses: String,
        /// What the driver says.
        why: String,
    },
    /// It asks for a user and password, or does not know these.
    #[error(
        "the store at {addresses} refuses the user {user:?}; set store.user and store.password \
         (better in the file or as RINGMAIL_STORE__PASSWORD than as a flag)"
    )]
    Refused {
        /// Where it is.
        addresses: String,
        /// Who asked.
        user: String,
    },
    /// The certificates cannot be used.
    #[error("store.tls_ca = {path:?}: {why}; name a PEM file of the store's certificate authority")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store shows another certificate.
    #[error(
        "the store at {addresses} shows a certificate that is not signed by those in {path}, or is \
         not for its address ({why}); set store.tls_ca to the PEM file of its certificate authority"
    )]
    Untrusted {
        /// Where it is.
        addresses: String,
        /// The file with the certificates.
        path: String,
        /// What the driver says.
        why: String,
    },
    /// This build speaks no TLS.
    #[error(
        "this build has no TLS to the store; build it with `cargo build --release --features \
         scylla-tls`, or leave store.tls_ca empty where the network is safe"
    )]
    NoTls,
    /// There is no such keyspace.
    #[error(
        "the store has no keyspace {0}; `ringmail store migrate` makes it, or set store.keyspace"
    )]
    NoKeyspace(String),
    /// The tables are older than this build.
    #[error(
        "keyspace {keyspace} has schema {found}, this build needs {wanted}; run \
         `ringmail store migrate`"
    )]
    Old {
        /// Which keyspace.
        keyspace: String,
        /// Its version; 0: none.
        found: i32,
        /// This build's.
        wanted: i32,
    },
    /// The tables are newer than this build.
    #[error(
        "keyspace {keyspace} has schema {found}, newer than {wanted}, the newest that this build \
         knows; start the newer ringmail"
    )]
    New {
        /// Which keyspace.
        keyspace: String,
        /// Its version.
        found: i32,
        /// This build's.
        wanted: i32,
    },
    /// There are not enough nodes for the copies.
    #[error(
        "datacenter {datacenter} has {nodes} nodes for {copies} copies; add nodes, or set \
         store.replication (1 to try it on one node)"
    )]
    TooFewNodes {
        /// Which datacenter; the named one may not exist.
        datacenter: String,
        /// Nodes there.
        nodes: usize,
        /// Copies wanted.
        copies: u32,
    },
    /// Another data directory's log feeds this keyspace: two would give out the same numbers.
    #[error(
        "keyspace {keyspace} belongs to the data directory or node named {owner}, this one is \
         {log}; set store.keyspace to another one, or ack and node to what they were. If that \
         directory is lost for ever, with what was acked and not in the store yet: \
         DELETE FROM {keyspace}.owner WHERE one = 1"
    )]
    Owned {
        /// Which keyspace.
        keyspace: String,
        /// Whose it is.
        owner: String,
        /// Who asked.
        log: String,
    },
    /// Several datacenters and none is named, or one that is none.
    #[error(
        "rows are written and read at a quorum of the datacenter beside this server, and \
         store.datacenter is {named:?}; set it to one of {there}"
    )]
    Datacenter {
        /// As it is configured.
        named: String,
        /// Those that the store has.
        there: String,
    },
    /// `geo` where the loss of a datacenter is the loss of a quorum.
    #[error(
        "ack = \"geo\" needs three datacenters or more of which none has half of the copies, and \
         keyspace {keyspace} has {found}; change its replication, or set ack = \"replicated\""
    )]
    Geo {
        /// Which keyspace.
        keyspace: String,
        /// Its replication.
        found: String,
    },
    /// Somebody else migrates and does not end.
    #[error("{0} is migrating this keyspace; wait for it, or for a minute if it died")]
    Locked(String),
    /// A statement of a migration failed.
    #[error(
        "the schema cannot be changed: {0}; nothing else was done, run it again once that is cured"
    )]
    Schema(String),
    /// The system gives no thread.
    #[error("cannot start the store's thread: {0}")]
    Thread(std::io::Error),
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum Failure {
    /// Unknown whether it was done.
    Unanswered(String),
    /// A row is not as it was written.
    Row(String),
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Failure {
        Failure::Unanswered(error.to_string())
    }
}

impl From<PagerExecutionError> for Failure {
    fn from(error: PagerExecutionError) -> Failure {
        Failure::Unanswered(error.to_string())
    }
}

impl From<IntoRowsResultError> for Failure {
    fn from(error: IntoRowsResultError) -> Failure {
        Failure::Row(error.to_string())
    }
}

impl From<RowsError> for Failure {
    fn from(error: RowsError) -> Failure {
        Failure::Row(error.to_string())
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Failure {
        Failure::Row(error.to_string())
    }
}

impl From<Failure> for BackendError {
    fn from(failure: Failure) -> BackendError {
        match failure {
            Failure::Unanswered(why) => BackendError::Unavailable(format!(
                "{why}; check its nodes with `ringmail store status`"
            )),
            Failure::Row(why) => BackendError::Broken(format!(
                "a row is not as it was written: {why}; restore the keyspace from a copy"
            )),
        }
    }
}
