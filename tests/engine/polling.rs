//! What users report with their client's own "report": from the homeserver's list to the room's hub.

use std::{sync::atomic::Ordering, time::Duration};

use mimi_gateway::{engine::ports::Endpoint, store::StoreError};
use ruma::OwnedRoomId;

use crate::{
    homeserver::{Fault, no_faults},
    reports::{admin_room, sent, told},
    silo::{Silo, Two, until_bodies, until_true},
};

async fn with_token(silo: &Silo) {
    silo.homeserver.admin.store(true, Ordering::SeqCst);
    silo.stop().await;
    silo.start().await;
}

/// How many reports reached A's administrators, after everything came to rest.
async fn count(two: &Two, admins: &OwnedRoomId) -> usize {
    tokio::time::sleep(Duration::from_millis(150)).await;
    until_true("quiet", || two.b.homeserver.is_quiet()).await;
    two.a.homeserver.bodies(admins).len()
}

const NOW: Duration = Duration::ZERO;

#[tokio::test(flavor = "multi_thread")]
async fn a_report_to_the_homeserver_reaches_the_hub_once() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let admins = admin_room(&two.a).await;
    with_token(&two.b).await;
    for text in ["buy now", "buy more"] {
        two.a.homeserver.say(&at_a, "a1", text);
    }
    until_bodies(&two.b, &at_b, &["buy now", "buy more"]).await;
    let event = two.b.homeserver.event(&at_b, "buy now");
    two.b.homeserver.report(&at_b, "b1", &event, "spam, as so often", NOW);
    let text = told(&two.a, &admins, 1).await;
    assert!(text.contains("by somebody at b.example who gives no name"), "{text}");
    assert!(text.contains("• PROVEN") && text.contains("“buy now”") && text.contains(uri.as_str()), "{text}");
    assert!(text.contains("note: spam, as so often"), "{text}");
    assert_eq!(sent(&two).reporting_user, None);
    // However often the list is looked at, and over restarts, it is the same report.
    let calls = || two.a.net.calls(&two.a.domain, Endpoint::ReportAbuse).len();
    assert_eq!((count(&two, &admins).await, calls()), (1, 1));
    for _ in 0..3 {
        two.b.crash().await;
        two.b.memory().refuse_commits(None);
        two.b.start().await;
    }
    assert_eq!((count(&two, &admins).await, calls()), (1, 1));
    // The next one, whose number was given before: an administrator removed the newest.
    two.b.homeserver.remove_report(1);
    let more = two.b.homeserver.event(&at_b, "buy more");
    assert_eq!(two.b.homeserver.report(&at_b, "b1", &more, "", NOW), 1);
    let text = told(&two.a, &admins, 2).await;
    assert!(text.contains("“buy more”"), "{text}");
    // The process dies between any two commits.
    for batches in 0..5 {
        two.b.memory().refuse_commits_after(batches, Some(StoreError::Busy("the process is gone".to_owned())));
        two.b.homeserver.report(&at_b, "b1", &more, &format!("after {batches} batches"), NOW);
        tokio::time::sleep(Duration::from_millis(60)).await;
        two.b.crash().await;
        two.b.memory().refuse_commits(None);
        two.b.start().await;
        let so_far = 3 + usize::try_from(batches).unwrap();
        assert!(told(&two.a, &admins, so_far).await.contains(&format!("after {batches} batches")));
        assert_eq!(count(&two, &admins).await, so_far);
    }
    // Nobody is told in the room.
    assert!(!two.b.homeserver.notices(&at_b).iter().any(|notice| notice.contains("report")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_of_mimi_stays_at_the_homeserver() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let admins = admin_room(&two.a).await;
    two.a.homeserver.say(&at_a, "a1", "buy now");
    until_bodies(&two.b, &at_b, &["buy now"]).await;
    two.b.homeserver.say(&at_b, "b1", "mine");
    until_bodies(&two.a, &at_a, &["buy now", "mine"]).await;
    let (event, mine) = (two.b.homeserver.event(&at_b, "buy now"), two.b.homeserver.event(&at_b, "mine"));
    let elsewhere = two.b.homeserver.create_room("b1", "");
    let other = two.b.homeserver.say(&elsewhere, "b1", "not carried").to_string();
    // Reported an hour before there was a token.
    two.b.homeserver.report(&at_b, "b1", &event, "before", Duration::from_hours(1));
    two.b.homeserver.report(&elsewhere, "b1", &other, "", NOW);
    two.b.homeserver.report(&at_b, "b1", &mine, "", NOW);
    two.b.homeserver.report(&at_b, "b1", "$unknown:b.test", "", NOW);
    assert_eq!(count(&two, &admins).await, 0, "without a token nobody looks");
    with_token(&two.b).await;
    assert_eq!(count(&two, &admins).await, 0);
    two.b.homeserver.report(&at_b, "b1", &event, "after", NOW);
    assert!(told(&two.a, &admins, 1).await.contains("note: after"));
    assert_eq!(count(&two, &admins).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_read_to_where_it_was_known() {
    let faults = no_faults();
    let two = Two::with(faults.clone()).await;
    let (at_a, at_b, _) = two.room().await;
    let admins = admin_room(&two.a).await;
    with_token(&two.b).await;
    two.a.homeserver.say(&at_a, "a1", "buy now");
    until_bodies(&two.b, &at_b, &["buy now"]).await;
    let event = two.b.homeserver.event(&at_b, "buy now");
    // While the homeserver is away many come, ours first.
    *faults.lock().unwrap() = Box::new(|call| if call.starts_with("reports") { Fault::Before } else { Fault::None });
    two.b.homeserver.report(&at_b, "b1", &event, "the first", NOW);
    for _ in 0..250 {
        two.b.homeserver.report(&at_b, "b1", "$old:b.test", "", Duration::from_mins(5));
    }
    assert_eq!(count(&two, &admins).await, 0);
    *faults.lock().unwrap() = Box::new(|_| Fault::None);
    assert!(told(&two.a, &admins, 1).await.contains("note: the first"));
    assert_eq!(two.a.net.calls(&two.a.domain, Endpoint::ReportAbuse).len(), 1);
}
