use super::*;
use crate::{
    content::{ExternalPart, MessageId, PartSemantics},
    ident::RoomUri,
    translate::profile::{Photo, Vcard},
};

fn said(body: NestedPart) -> MimiContent {
    let (user, room) = ("mimi://b.example/u/bob", "mimi://a.example/r/x");
    MimiContent::new([3; 16], &UserUri::parse(user).unwrap(), &RoomUri::parse(room).unwrap(), body)
}

fn text(text: &str) -> NestedPart {
    NestedPart::text("text/plain;charset=utf-8", text)
}

fn of(disposition: Disposition, body: Body) -> NestedPart {
    NestedPart { disposition, language: String::new(), body }
}

fn file(disposition: Disposition, content_type: &str) -> NestedPart {
    let part = ExternalPart { content_type: content_type.to_owned(), ..ExternalPart::default() };
    of(disposition, Body::External(Box::new(part)))
}

fn all(parts: Vec<NestedPart>) -> NestedPart {
    NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts })
}

fn reaction(key: &str) -> MimiContent {
    let part = of(Disposition::Reaction, text(key).body);
    MimiContent { in_reply_to: Some(MessageId([7; 32])), ..said(part) }
}

const THAT: Option<MessageId> = Some(MessageId([7; 32]));

/// Whether somebody with just these capabilities may say it.
fn may(holds: &[Capability], content: &MimiContent) -> bool {
    forbidden(content, |capability| holds.contains(&capability)).is_none()
}

/// Each of these capabilities is needed for it, and they are enough.
fn needs_just(wanted: &[Capability], content: &MimiContent) {
    assert!(may(wanted, content), "{wanted:?} are enough");
    for without in wanted {
        let rest: Vec<_> = Capability::ALL.iter().copied().filter(|capability| capability != without).collect();
        assert!(!may(&rest, content), "without {without:?}");
    }
}

#[test]
fn each_kind_of_message_asks_for_its_capabilities() {
    needs_just(&[SendMessage], &said(text("hello")));
    needs_just(&[SendMessage], &said(NestedPart::render(Body::Null)));
    needs_just(&[SendMessage, ReplyToMessage], &MimiContent { in_reply_to: THAT, ..said(text("yes")) });
    needs_just(&[SendMessage, EditOwnMessage], &MimiContent { replaces: THAT, ..said(text("hallo")) });
    let edited_answer = MimiContent { replaces: THAT, in_reply_to: THAT, ..said(text("no")) };
    needs_just(&[SendMessage, EditOwnMessage], &edited_answer);
    for (kind, capability) in [
        ("image/png", UploadImage),
        ("Video/mp4", UploadVideo),
        ("audio/ogg;codecs=opus", UploadAudio),
        ("application/pdf", UploadAttachment),
        ("", UploadAttachment),
    ] {
        needs_just(&[SendMessage, capability], &said(file(Disposition::Render, kind)));
        needs_just(&[SendMessage, capability], &said(all(vec![text("see"), file(Disposition::Inline, kind)])));
        needs_just(&[SendMessage, UploadAttachment], &said(file(Disposition::Attachment, kind)));
    }
    for (kind, capability) in [("image/png", UploadImage), ("application/pdf", UploadAttachment)] {
        let embedded = || Body::Single { content_type: kind.to_owned(), content: vec![1, 2] };
        needs_just(&[SendMessage, capability], &said(NestedPart::render(embedded())));
        needs_just(&[SendMessage, UploadAttachment], &said(of(Disposition::Attachment, embedded())));
    }
    // What stands within a preview is shown all the same.
    let preview = of(Disposition::Preview, all(vec![text("title"), file(Disposition::Render, "image/png")]).body);
    needs_just(&[SendMessage, UploadImage], &said(all(vec![text("see"), preview])));
    needs_just(
        &[SendMessage, SendLinkPreview],
        &said(all(vec![text("see"), of(Disposition::Preview, text("title").body)])),
    );
}

#[test]
fn what_calls_itself_a_call_needs_what_its_files_need() {
    let at = |content_type: &str| {
        let at =
            ExternalPart { content_type: content_type.into(), url: "https://a/1".into(), ..ExternalPart::default() };
        Body::External(Box::new(at))
    };
    let session = |body| said(of(Disposition::Session, body));
    needs_just(&[SendMessage], &session(at("")));
    needs_just(&[SendMessage], &session(at("text/html")));
    needs_just(&[SendMessage], &session(text("join").body));
    needs_just(&[SendMessage, UploadImage], &session(at("image/png")));
    needs_just(
        &[SendMessage, UploadImage],
        &session(all(vec![text("join"), NestedPart::render(at("image/png"))]).body),
    );
    let within = Body::Single { content_type: "video/mp4".into(), content: vec![0] };
    needs_just(&[SendMessage, UploadVideo], &session(within));
}

#[test]
fn reactions_and_taking_back_need_no_leave_to_write() {
    needs_just(&[ReactToMessage], &reaction("+1"));
    needs_just(&[EditReaction], &MimiContent { replaces: THAT, ..reaction("-1") });
    let deletion = MimiContent { replaces: THAT, ..said(NestedPart::render(Body::Null)) };
    for one in [DeleteOwnMessage, DeleteOtherMessage] {
        assert!(may(&[one], &deletion));
    }
    assert!(!may(&[SendMessage, DeleteOwnReaction], &deletion));
    assert!(may(&[DeleteOwnReaction], &MimiContent { in_reply_to: THAT, ..deletion.clone() }));
    assert!(!may(&[SendMessage, ReactToMessage], &MimiContent { in_reply_to: THAT, ..deletion }));
}

#[test]
fn what_only_calls_itself_a_reaction_is_a_message() {
    let long = "a whole speech ".repeat(20);
    let two =
        MimiContent { in_reply_to: THAT, ..said(of(Disposition::Reaction, all(vec![text("a"), text("b")]).body)) };
    let mut titled = reaction("+1");
    titled.set_subject("a whole speech");
    let nothing = MimiContent { in_reply_to: None, ..reaction("+1") };
    for content in [reaction(&long), two, titled, nothing] {
        assert!(!may(&[ReactToMessage], &content) && may(&[SendMessage, ReplyToMessage], &content));
    }
}

#[test]
fn topics_are_begun_and_answered_in() {
    let topic = MimiContent { topic_id: vec![1], ..said(text("on that")) };
    for one in [StartTopic, ReplyInTopic] {
        assert!(may(&[SendMessage, one], &topic) && !may(&[one], &topic));
    }
    assert!(!may(&[SendMessage], &topic));
    let answer = MimiContent { in_reply_to: THAT, ..topic };
    // The draft's attendees have this one alone.
    assert!(may(&[ReplyInTopic], &answer) && !may(&[SendMessage, ReplyToMessage, StartTopic], &answer));
}

#[test]
fn reports_and_names_are_everybodys_and_nothing_hides_behind_them() {
    let (user, room) =
        (UserUri::parse("mimi://b.example/u/bob").unwrap(), RoomUri::parse("mimi://a.example/r/x").unwrap());
    let card =
        profile::write(&Vcard { name: Some("Bob".to_owned()), picture: Photo::Unsaid }, [1; 16], &user, &room, 0);
    assert!(may(&[], &card));
    let report = MessageStatusReport(Vec::new()).encode().unwrap();
    let content_type = crate::content::STATUS_MEDIA_TYPE.to_owned();
    assert!(may(&[], &said(NestedPart::render(Body::Single { content_type, content: report }))));
    let beside = all(vec![card.body.clone(), text("a speech")]).body;
    let mut titled = card;
    titled.set_subject("a speech");
    for content in
        [said(of(Disposition::Profile, beside)), said(of(Disposition::Profile, text("a speech").body)), titled]
    {
        assert!(!may(&[ReactToMessage], &content));
    }
}
