//! `mimi-gateway rooms`: the bridged rooms, read from the store, or asked of the gateway that has it.

use super::{CliError, table};
use crate::{admin::RoomRow, config::Config, runtime};

/// Prints the bridged rooms as a table, or as JSON lines.
pub(super) fn run(config: &Config, json: bool) -> Result<(), CliError> {
    let rows = runtime::list_rooms(config).map_err(|e| CliError::of_runtime("cannot list the rooms", e))?;
    print!("{}", render(&rows, json));
    Ok(())
}

/// Prints what must be the same at every provider of each room, as JSON lines.
pub(super) fn fingerprints(config: &Config) -> Result<(), CliError> {
    let rows =
        runtime::list_fingerprints(config).map_err(|e| CliError::of_runtime("cannot list the fingerprints", e))?;
    for row in rows {
        println!("{}", serde_json::json!(row));
    }
    Ok(())
}

fn render(rows: &[RoomRow], json: bool) -> String {
    if json {
        return rows.iter().map(|r| serde_json::json!(r).to_string() + "\n").collect();
    }
    if rows.is_empty() {
        return "No rooms are bridged yet. In Matrix, invite the bridge bot into a room and write `!mimi bridge` there.\n".to_owned();
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|r| {
            let epoch = r.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
            let participants = r.participants.to_string();
            vec![
                r.role.clone(),
                r.hub.clone(),
                r.mimi_room.clone(),
                r.matrix_room.clone().unwrap_or_else(|| "-".to_owned()),
                state(r),
                epoch,
                participants,
            ]
        })
        .collect();
    table::render(&["ROLE", "HUB", "MIMI ROOM", "MATRIX ROOM", "STATE", "EPOCH", "PARTICIPANTS"], &cells)
}

/// How a room stands, and what was given up to make the same on both sides.
fn state(row: &RoomRow) -> String {
    match row.differs.as_slice() {
        [] => row.state.clone(),
        them => format!("{}; differs in: {}", row.state, them.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> RoomRow {
        RoomRow {
            mimi_room: "mimi://a.example/r/x1".into(),
            matrix_room: Some("!abc".into()),
            role: "hub".into(),
            hub: "a.example".into(),
            state: "active".into(),
            epoch: Some(7),
            participants: 3,
            differs: Vec::new(),
        }
    }

    #[test]
    fn rooms_are_a_table_for_people_and_json_for_programs() {
        let text = render(&[row()], false);
        let (head, line) = text.trim_end().split_once('\n').unwrap();
        assert!(head.starts_with("ROLE  HUB        MIMI ROOM"), "{head}");
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["hub", "a.example", "mimi://a.example/r/x1", "!abc", "active", "7", "3"]
        );
        let json: serde_json::Value = serde_json::from_str(&render(&[row()], true)).unwrap();
        assert_eq!(json["epoch"], 7);
        let bare = RoomRow { matrix_room: None, epoch: None, ..row() };
        let json: serde_json::Value = serde_json::from_str(&render(std::slice::from_ref(&bare), true)).unwrap();
        assert!(json.get("epoch").is_none() && json.get("matrix_room").is_none(), "what is absent is left out: {json}");
        assert!(render(&[bare], false).contains(" -  "), "in the table it is a dash");
        let differs = RoomRow { differs: vec!["name".into(), "topic".into()], ..row() };
        assert!(render(std::slice::from_ref(&differs), false).contains("active; differs in: name, topic"));
        let json: serde_json::Value = serde_json::from_str(&render(&[differs], true)).unwrap();
        assert_eq!(json["differs"], serde_json::json!(["name", "topic"]));
        assert_eq!(render(&[], true), "");
        assert!(render(&[], false).contains("bridge"));
    }
}
