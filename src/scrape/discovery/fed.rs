//! Targets that another part of the server finds, such as the reporters of a Flink cluster that is followed.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::Update;
use crate::scrape::config::TargetGroup;

/// What is said of the targets: none until the first word.
type Said = Option<Arc<Vec<TargetGroup>>>;

/// Says which targets there are.
#[derive(Debug, Clone)]
pub(crate) struct Feeder(watch::Sender<Said>);

/// Hears which targets there are. Two are equal if they hear the same feeder.
#[derive(Debug, Clone)]
pub struct Feed(watch::Receiver<Said>);

impl PartialEq for Feed {
    fn eq(&self, other: &Feed) -> bool {
        self.0.same_channel(&other.0)
    }
}

/// Both ends; nothing is said yet.
pub(crate) fn feed() -> (Feeder, Feed) {
    let (sender, receiver) = watch::channel(None);
    (Feeder(sender), Feed(receiver))
}

impl Feeder {
    /// These are all targets from now on.
    pub(crate) fn say(&self, groups: Vec<TargetGroup>) {
        self.0.send_if_modified(|said| {
            if said.as_deref() == Some(&groups) {
                return false;
            }
            *said = Some(Arc::new(groups));
            true
        });
    }
}

/// Passes on what is said until nobody can say anything any more.
pub(super) async fn run(mut feed: Feed, source: usize, updates: mpsc::Sender<Update>) {
    loop {
        let said = feed.0.borrow_and_update().clone();
        if let Some(groups) = said
            && updates.send(Update { source, groups: groups.to_vec() }).await.is_err()
        {
            return;
        }
        if feed.0.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(target: &str) -> Vec<TargetGroup> {
        vec![TargetGroup { targets: vec![target.to_owned()], labels: Vec::new() }]
    }

    #[tokio::test]
    async fn what_is_said_is_passed_on_and_nothing_before_the_first_word() {
        let (feeder, feed) = feed();
        let (sender, mut updates) = mpsc::channel(1);
        let task = tokio::spawn(run(feed.clone(), 3, sender));
        tokio::task::yield_now().await;
        assert!(updates.try_recv().is_err(), "nothing was said");
        feeder.say(group("a:1"));
        let update = updates.recv().await.unwrap();
        assert_eq!((update.source, update.groups), (3, group("a:1")));
        // The same again is no news.
        feeder.say(group("a:1"));
        feeder.say(Vec::new());
        assert_eq!(updates.recv().await.unwrap().groups, Vec::new());
        drop(feeder);
        task.await.unwrap();
    }

    #[test]
    fn equal_is_who_hears_the_same() {
        let ((_first, one), (_second, other)) = (feed(), feed());
        assert_eq!(one, one.clone());
        assert_ne!(one, other);
    }
}
