//! The instance's state machine, one story a test.

use super::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn refused() -> Failure {
    Failure::new(InstanceReason::Refused, "nobody listens")
}

#[test]
fn up_is_only_who_answered_lately() {
    let t = Instant::now();
    let mut standing = Standing::new(t);
    assert!(standing.is_worth_waiting(), "the first attempt is waited for");
    assert_eq!(standing.verdict(t).reason, InstanceReason::Timeout);
    standing.connected(t + seconds(1));
    assert!(standing.verdict(t).is_up() && standing.verdict(t + seconds(1)).is_up());
    assert_eq!(standing.verdict(t + seconds(2)).reason, InstanceReason::Timeout);
    standing.answered(t + seconds(3));
    assert!(standing.verdict(t + seconds(2)).is_up());
}

#[test]
fn who_was_waited_for_in_vain_is_not_waited_for_again_until_it_answers() {
    let t = Instant::now();
    let mut standing = Standing::new(t);
    standing.connected(t);
    standing.overdue(t + seconds(1), t + seconds(3));
    assert!(!standing.is_worth_waiting());
    assert_eq!(standing.shown(t + seconds(4)).0.reason, InstanceReason::Timeout);
    assert_eq!(standing.shown(t + seconds(4)).1, t + seconds(3));
    standing.answered(t + seconds(5));
    assert!(standing.is_worth_waiting());
    assert!(standing.shown(t + seconds(9)).0.is_up());
    standing.overdue(t + seconds(4), t + seconds(6));
    assert!(standing.is_worth_waiting(), "it has answered since that wait began");
}

#[test]
fn a_server_that_closes_is_tried_at_once_and_one_that_hangs_is_not_hoped_for() {
    let t = Instant::now();
    let mut standing = Standing::new(t);
    standing.connected(t);
    assert_eq!(standing.lost(t + seconds(9), refused()), t + seconds(9));
    assert!(standing.is_worth_waiting(), "it may be back already");
    let again = standing.failed(t + seconds(9), refused());
    assert!(again > t + seconds(9) && again <= t + seconds(13));
    assert!(!standing.is_worth_waiting());
    assert_eq!(standing.verdict(t).reason, InstanceReason::Refused, "the old answer is no answer");
    standing.connecting();
    assert!(!standing.is_worth_waiting());

    let mut standing = Standing::new(t);
    standing.connected(t);
    standing.lost(t + seconds(9), Failure::new(InstanceReason::Timeout, "silence"));
    assert!(!standing.is_worth_waiting());
    assert_eq!(standing.verdict(t).reason, InstanceReason::Timeout);
}

#[test]
fn a_session_that_never_lasts_is_not_tried_at_once() {
    let t = Instant::now();
    let mut standing = Standing::new(t);
    standing.connected(t);
    assert!(standing.lost(t + seconds(1), refused()) > t + seconds(1));
    assert!(!standing.is_worth_waiting());
}

#[test]
fn what_made_us_hold_back_is_the_reason_and_not_that_we_do() {
    let t = Instant::now();
    let budget = || Failure::new(InstanceReason::Budget, "three sessions are still open there");
    let mut standing = Standing::new(t);
    standing.failed(t, Failure::new(InstanceReason::Timeout, "silence"));
    standing.connecting();
    standing.failed(t + seconds(1), budget());
    let verdict = standing.verdict(t);
    assert_eq!(verdict.reason, InstanceReason::Timeout);
    assert_eq!(verdict.message.as_deref(), Some("three sessions are still open there"));

    let mut standing = Standing::new(t);
    standing.failed(t, budget());
    assert_eq!(standing.verdict(t).reason, InstanceReason::Budget);
}

#[test]
fn waits_grow_up_to_the_ceiling_of_their_reason() {
    let t = Instant::now();
    for (reason, least, most) in
        [(InstanceReason::Starting, 2, 4), (InstanceReason::Authentication, 15, 30)]
    {
        let mut standing = Standing::new(t);
        let mut wait = Duration::ZERO;
        for _ in 0..12 {
            wait = standing.failed(t, Failure::new(reason, "")) - t;
            standing.connecting();
        }
        assert!(wait >= seconds(least) && wait <= seconds(most), "{reason:?} {wait:?}");
    }
}
