//! Rows that do not read back: set aside, so that the operator hears of them once and nothing stumbles over them again.

use serde::{Serialize, de::DeserializeOwned};

use super::core::Engine;
use crate::store::{Batch, KeyCodec, StoreError, Table, TablePage};

impl Engine {
    /// The rows of a page that read; the others are set aside.
    pub(super) async fn readable<K, V>(
        &self,
        table: &Table<K, V>,
        page: TablePage<K, V>,
    ) -> Result<Vec<(K, V)>, StoreError>
    where
        K: KeyCodec,
        V: Serialize + DeserializeOwned,
    {
        if !page.damaged.is_empty() {
            let mut batch = Batch::new("damaged rows set aside");
            for key in page.damaged {
                let why = format!("a stored row that does not read back: {}", key.escape_ascii());
                self.put_aside(&mut batch, table.name(), None, &why, None)?;
                batch.delete(key);
            }
            self.0.db.commit(batch).await?;
        }
        Ok(page.rows)
    }

    /// All rows with this prefix that read; the others are set aside. For tables whose size is bounded.
    pub(super) async fn all_readable<K, V, P>(&self, table: &Table<K, V>, prefix: &P) -> Result<Vec<(K, V)>, StoreError>
    where
        K: KeyCodec,
        V: Serialize + DeserializeOwned,
        P: KeyCodec + Sync,
    {
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = table.scan(&self.0.db, prefix, after, 1000).await?;
            after = page.next.clone();
            rows.extend(self.readable(table, page).await?);
            if after.is_none() {
                return Ok(rows);
            }
        }
    }
}
