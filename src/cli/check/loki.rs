//! Loki: whether it answers, and whether it keeps records as long as it should.

use tokio::time::Instant;

use super::PATIENCE;
use super::found::Found;
use crate::config::{Logs, Settings};
use crate::logs::kept_in_loki;
use crate::loki::Loki;
use crate::loki::retention::{self, Verdict};
use crate::telemetry::Telemetry;

/// Whether it answers, and lets each route's tenant in.
pub(super) async fn loki(logs: &Logs, telemetry: &Telemetry, found: &mut Found) {
    let Some(target) = &logs.loki else { return };
    let answer = match Loki::new(target, telemetry) {
        Ok(loki) => {
            let mut answer = Ok(loki.address());
            for route in &logs.routes {
                if let Err(sentence) = loki.reach(route.tenant.as_deref(), PATIENCE).await {
                    answer = Err(sentence);
                }
            }
            answer
        }
        Err(sentence) => Err(sentence),
    };
    match answer {
        Ok(address) => found.notes.push(format!("Loki: {address} answers")),
        Err(sentence) => {
            let (what, remedy) = sentence
                .rsplit_once("; ")
                .unwrap_or((&sentence, "start it, or correct `logs.loki.url`"));
            found.needs(&target.place, format!("Loki: {what}"), remedy);
        }
    }
}

/// What Loki does with the routes' periods.
pub(super) async fn retention(settings: &Settings, found: &mut Found) {
    let routes = kept_in_loki(settings);
    let target = settings.logs.as_ref().and_then(|logs| logs.loki.as_ref());
    let (Some(target), false) = (target, routes.is_empty()) else { return };
    let Ok(loki) = Loki::new(target, &Telemetry::new()) else { return };
    let told = retention::look(&loki, &routes, Instant::now() + PATIENCE).await;
    if told.trouble.is_some() {
        // That Loki does not answer is told already.
        return;
    }
    for kept in &routes {
        let old = retention::older(&loki, kept, &told, Instant::now() + PATIENCE).await;
        let judged = retention::judge(kept, &told, old);
        match judged.verdict {
            Verdict::Ok | Verdict::Unset => found.notes.push(format!("Loki: {}", judged.what)),
            _ => found.advise(&target.place, judged.what, judged.remedy),
        }
    }
    if told.sharding.is_none() {
        found
            .notes
            .push("Loki: whether it splits up streams (shard_streams) it does not tell".to_owned());
    }
    if told.sharding == Some(true) {
        found.advise(
            &target.place,
            "Loki splits up streams with many records (shard_streams), so that after a crash some may \
             show twice"
                .to_owned(),
            "turn it off as `pgvigil export loki-retention` writes",
        );
    }
}
