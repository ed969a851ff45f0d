//! What a ghost is called in one room: its own member event there. Its profile, which every room would show, stays as it is.

use reqwest::Method;
use ruma::RoomId;
use serde_json::{Map, Value, json};

use super::{HomeserverClient, errors};
use crate::engine::ports::{Actor, CallError};

impl HomeserverClient {
    /// Looks before it writes: a ghost that was put out meanwhile does not come back by it, and nothing is written twice.
    pub(super) async fn name_in(&self, room: &RoomId, actor: &Actor, name: &str) -> Result<(), CallError> {
        let user = self.ensure(actor).await?;
        let target = self.v3().segment("rooms").segment(room.as_str()).segment("state").segment("m.room.member");
        let target = target.segment(user.as_str()).query("user_id", user.as_str());
        let now = match self.call::<Map<String, Value>>("member", Method::GET, target, None).await {
            Ok(now) => now,
            Err(error) if errors::is(&error, "M_NOT_FOUND") || errors::is(&error, "M_FORBIDDEN") => return Ok(()),
            Err(error) => return Err(error),
        };
        let text = |key: &str| now.get(key).and_then(Value::as_str);
        if text("membership") != Some("join") || text("displayname") == Some(name) {
            return Ok(());
        }
        let mut content = json!({ "membership": "join", "displayname": name });
        if let (Some(content), Some(picture)) = (content.as_object_mut(), now.get("avatar_url")) {
            content.insert("avatar_url".to_owned(), picture.clone());
        }
        self.set_state(room, &user, "m.room.member", user.as_str(), content.to_string()).await.map(drop)
    }
}
