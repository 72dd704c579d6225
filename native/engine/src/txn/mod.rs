//! Transactions (KIP-98): the state machine of one transactional id. What drives it comes with the
//! producers that write in transactions.

mod state;

pub use state::{Limits, Place, Reply, State, Step, Told, Trouble};
