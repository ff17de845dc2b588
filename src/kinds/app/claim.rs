//! Which of several objects speaks for one remote name. Pure.
use jiff::Timestamp;

use crate::api::names::ObjectName;

/// An object that declares the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    pub name: ObjectName,
    pub uid: String,
    pub created: Option<Timestamp>,
    /// Id of the remote app that it recorded, if any.
    pub recorded: Option<String>,
    pub deleting: bool,
}

/// Who holds the id that exists comes first, then who holds any, then who stays, then the oldest, then the smallest uid. An
/// object that is going and holds nothing claims nothing.
pub fn winner<'a>(claimants: &'a [Claimant], remote_id: Option<&str>) -> Option<&'a Claimant> {
    claimants
        .iter()
        .filter(|c| !c.deleting || c.recorded.is_some())
        .min_by_key(|c| {
            let holds = remote_id.is_some() && c.recorded.as_deref() == remote_id;
            (!holds, c.recorded.is_none(), c.deleting, c.created, &c.uid)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(name: &str, second: i64, recorded: Option<&str>) -> Claimant {
        Claimant {
            name: ObjectName::new("ns", name),
            uid: name.into(),
            created: Timestamp::from_second(second).ok(),
            recorded: recorded.map(Into::into),
            deleting: false,
        }
    }

    fn first(claimants: &[Claimant], remote: Option<&str>) -> String {
        winner(claimants, remote)
            .map(|c| c.name.name.clone())
            .unwrap_or_default()
    }

    #[test]
    fn the_recorded_id_wins_then_the_oldest_then_the_uid() {
        let old = claimant("old", 1, None);
        let young = claimant("young", 2, None);
        let holder = claimant("holder", 3, Some("id"));
        assert_eq!(first(&[young.clone(), old.clone()], None), "old");
        assert_eq!(
            first(&[old.clone(), young.clone(), holder], Some("id")),
            "holder"
        );
        let twin = claimant("zz", 1, None);
        assert_eq!(first(&[twin, old], None), "old");
    }

    #[test]
    fn an_object_that_is_going_claims_only_what_it_holds() {
        let young = claimant("young", 2, None);
        let mut going = claimant("going", 1, None);
        going.deleting = true;
        assert_eq!(first(&[going.clone(), young.clone()], None), "young");
        going.recorded = Some("id".into());
        assert_eq!(first(&[going.clone(), young], Some("id")), "going");
        let stays = claimant("stays", 2, Some("id"));
        assert_eq!(first(&[going, stays], Some("id")), "stays");
    }
}
