//! Keys that belong to the gateway, not to a room; and what it signs with them.

use super::tables::KEYS;
use crate::{
    mls::labels::SigningKey,
    store::{Batch, Database, StoreError},
};

const HUB: &str = "hub";

/// The key by which this provider signs as a hub; made at the first start.
pub(super) async fn hub_key(db: &Database) -> Result<SigningKey, StoreError> {
    let invalid = |error: crate::mls::MlsError| StoreError::Invalid(format!("the hub's key: {error}"));
    let name = HUB.to_owned();
    if let Some(bytes) = KEYS.get(db, &name).await? {
        return SigningKey::from_bytes(&bytes).map_err(invalid);
    }
    let key = SigningKey::generate().map_err(invalid)?;
    let mut batch = Batch::new("hub key");
    batch.require(KEYS.absent(&name));
    KEYS.put(db, &mut batch, &name, &key.to_bytes().map_err(invalid)?)?;
    db.commit(batch).await?;
    Ok(key)
}
