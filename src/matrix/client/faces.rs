//! What a ghost is called in one room, and looks like: its own member event there. Its profile, which every room would show, stays
//! as it is.

use reqwest::Method;
use ruma::RoomId;
use serde_json::{Map, Value, json};

use super::{HomeserverClient, errors};
use crate::engine::ports::{Actor, CallError};

/// What a member event keeps when the other one changes.
const FACE: [&str; 2] = ["displayname", "avatar_url"];

impl HomeserverClient {
    /// Writes one key of a ghost's member event. Looks before it writes: a ghost that was put out meanwhile does not come back by
    /// it, and nothing is written twice.
    pub(super) async fn show_face(
        &self,
        room: &RoomId,
        actor: &Actor,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), CallError> {
        let user = self.ensure(actor).await?;
        let target = self.v3().segment("rooms").segment(room.as_str()).segment("state").segment("m.room.member");
        let target = target.segment(user.as_str()).query("user_id", user.as_str());
        let now = match self.call::<Map<String, Value>>("member", Method::GET, target, None).await {
            Ok(now) => now,
            Err(error) if errors::is(&error, "M_NOT_FOUND") || errors::is(&error, "M_FORBIDDEN") => return Ok(()),
            Err(error) => return Err(error),
        };
        let text = |key: &str| now.get(key).and_then(Value::as_str);
        if text("membership") != Some("join") || text(key) == value {
            return Ok(());
        }
        let mut content = Map::from_iter([("membership".to_owned(), json!("join"))]);
        let kept = FACE.into_iter().filter(|kept| *kept != key).filter_map(|kept| Some((kept, text(kept)?)));
        content.extend(kept.chain(value.map(|value| (key, value))).map(|(key, value)| (key.to_owned(), json!(value))));
        self.set_state(room, &user, "m.room.member", user.as_str(), Value::from(content).to_string()).await.map(drop)
    }
}
