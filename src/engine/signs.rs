//! What a transaction tells of its homeserver: whether it was restarted perhaps since the one before, faster than anybody
//! noticed. What it loses then has to be looked for (DESIGN 8).

use std::sync::atomic::{AtomicU64, Ordering};

use super::ports::Transaction;

/// What the transactions since the start had.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// The newest connection on which one came.
    connection: AtomicU64,
    /// The last one's number.
    number: AtomicU64,
}

impl Signs {
    /// Notes a transaction; whether the homeserver may have been restarted before it.
    pub(super) fn restarted(&self, txn: &Transaction) -> bool {
        // Synapse keeps several connections open and takes turns: an older one says nothing.
        let new = txn.connection > self.connection.fetch_max(txn.connection, Ordering::Relaxed);
        // Synapse on SQLite begins anew at 1.
        let number = txn.txn_id.parse::<u64>();
        let back = number.is_ok_and(|number| number < self.number.swap(number, Ordering::Relaxed));
        new || back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(signs: &Signs, connection: u64, txn_id: &str) -> bool {
        signs.restarted(&Transaction {
            txn_id: txn_id.to_owned(),
            body_hash: [0; 32],
            events: Vec::new(),
            ephemeral: Vec::new(),
            connection,
        })
    }

    #[test]
    fn a_new_connection_or_a_smaller_number_is_a_sign_and_taking_turns_is_none() {
        let signs = Signs::default();
        assert!(came(&signs, 1, "1"), "the first");
        assert!(!came(&signs, 1, "2"));
        assert!(came(&signs, 3, "3"), "another connection");
        for (connection, number) in [(1, "4"), (3, "5"), (2, "6"), (3, "7"), (1, "name")] {
            assert!(!came(&signs, connection, number), "{connection}");
        }
        assert!(came(&signs, 4, "8"));
        assert!(came(&signs, 4, "1"), "it counts anew");
        assert!(!came(&signs, 4, "2"));
    }
}
