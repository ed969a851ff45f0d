//! Inputs as one line of a trace.

use crate::{
    room::{Input, Tag},
    wire::{FanoutContent, FanoutMessage, HandshakeBundle, Wire},
};

pub(super) fn brief(what: &impl std::fmt::Debug) -> String {
    let text = format!("{what:?}").replace("mimi://", "").replace(".test/u/", ":");
    text.chars().take(170).collect()
}

pub(super) fn brief_input(input: &Input) -> String {
    match input {
        Input::Event { event, .. } if event.event_type == "m.room.member" => {
            format!("{} makes {:?} {}", event.sender, event.state_key, event.content["membership"])
        }
        Input::Event { event, .. } => format!("{} says {}", event.sender, event.content["body"]),
        Input::Fanout(FanoutMessage { timestamp, content }) => {
            let kind = match content {
                FanoutContent::Application { .. } => "message",
                FanoutContent::Commit { .. } => "commit",
                FanoutContent::Proposal { .. } => "proposal",
                FanoutContent::Welcome { .. } => "welcome",
            };
            format!("fanout of {timestamp}: {kind}, made in epoch {:?}", content.message().epoch())
        }
        Input::Submit { peer, request } => format!("{peer} submits in epoch {:?}", request.app_message.epoch()),
        Input::Update { peer, bundle } => {
            let what = if matches!(bundle, HandshakeBundle::Commit(_)) { "a commit" } else { "proposals" };
            format!("{peer} updates with {what}, made in epoch {:?}", bundle.first().unwrap().epoch())
        }
        Input::Answered { tag: Tag::Submit(_), result } => {
            format!("submitted: {:?}", result.as_ref().map(|body| crate::wire::SubmitMessageResponse::decode(body)))
        }
        Input::Answered { result, .. } => {
            format!("updated: {:?}", result.as_ref().map(|body| crate::wire::UpdateRoomResponse::decode(body)))
        }
        other => brief(other),
    }
}
