//! Safety events that nobody has closed, the worst first, the newest first among equals.

use super::{Mark, named, shown};
use crate::morning::data::{Morning, SafetyEvent};
use crate::morning::text::Text;
use std::cmp::Reverse;

const ROWS: usize = 200;

pub(crate) struct Safety {
    pub events: Vec<Event>,
    pub shown: Option<String>,
}

pub(crate) struct Event {
    pub mark: Mark,
    pub asset: Text,
    pub code: Text,
    pub at: Text,
    pub description: Text,
}

impl Safety {
    pub(crate) fn new(morning: &Morning) -> Self {
        let mut sorted: Vec<&SafetyEvent> = morning.safety.iter().collect();
        sorted.sort_by_key(|event| (event.severity, Reverse(&event.event_timestamp)));
        let all = sorted
            .len()
            .max(usize::try_from(morning.totals.open_safety_events).unwrap_or(0));
        let events: Vec<Event> = sorted
            .into_iter()
            .take(ROWS)
            .map(|event| Event {
                mark: event.severity.mark(),
                asset: named(&event.asset),
                code: event.reason_code.or("–"),
                at: event.event_timestamp.or("–"),
                description: event
                    .description
                    .as_ref()
                    .map_or_else(|| Text::new("–"), |text| text.or("–")),
            })
            .collect();
        Self {
            shown: shown(events.len(), all),
            events,
        }
    }
}
