//! A panic is the fault of one piece of work, and not of the task that does it: that goes on with the next.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// It panicked. What it held is gone; what it had changed may be half done, and is thrown away by whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Panicked;

/// Does this work to its end, or until it panics.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_work_alone() {
        let after_a_pause = async {
            tokio::task::yield_now().await;
            assert_ne!(1, 1, "on purpose");
        };
        assert_eq!(caught(after_a_pause).await, Err(Panicked));
        let quiet = async {
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(caught(quiet).await, Ok(7));
    }
}
