//! inbox -> room actor -> outbox: leases, batching, retries, timers, quarantine; and the ports that the edges implement.

pub mod ports;
