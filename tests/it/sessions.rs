//! Sessions with real servers.

use crate::support::postgres::{Cluster, Options, Stop, majors};

/// The helpers themselves: a cluster that is written to, followed, frozen and restarted.
#[test]
fn clusters_start_follow_and_stop() {
    for major in majors() {
        let Some(mut primary) = Options::default().log_to_file().start(major) else { continue };
        primary.sql("CREATE TABLE t AS SELECT 1 AS a");
        let standby = Cluster::standby_of(&primary, &Options::default());
        assert_eq!(standby.sql("SELECT pg_is_in_recovery(), count(*) FROM t"), [["t", "1"]]);
        primary.stop(Stop::Immediate);
        primary.start_again();
        assert_eq!(primary.sql("SELECT a FROM t"), [["1"]]);
        assert!(primary.directory().join("log/postgresql.log").is_file());
        primary.freeze();
    }
}
