//! Changes that many photos have in common: told once, they are not thousands of lines.

use std::collections::BTreeMap;

use super::{AssetChange, FieldChange, OldNew};

/// So many photos with one change are many.
const MANY: u64 = 5;

/// A field that became the same of many photos, and had been the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlikeChange {
    pub field: String,
    pub turn: OldNew,
    pub photos: u64,
}

/// The changes that many of `assets` have in common, most photos first.
pub(super) fn find(assets: &[AssetChange]) -> Vec<AlikeChange> {
    let mut counts: BTreeMap<(&str, String), (&OldNew, u64)> = BTreeMap::new();
    for (field, turn) in assets.iter().flat_map(|asset| &asset.changes).flat_map(values) {
        // Text of JSON has an order, its values have none.
        let key = (field.as_str(), format!("{} {}", turn.from, turn.to));
        counts.entry(key).or_insert((turn, 0)).1 += 1;
    }
    let many = counts.into_iter().filter(|(_, (_, photos))| *photos >= MANY);
    let alike = many.map(|((field, _), (turn, photos))| AlikeChange {
        field: field.to_owned(),
        turn: turn.clone(),
        photos,
    });
    let mut alike: Vec<AlikeChange> = alike.collect();
    alike.sort_by_key(|alike| std::cmp::Reverse(alike.photos));
    alike
}

fn values(change: &FieldChange) -> impl Iterator<Item = (&String, &OldNew)> {
    let values = if let FieldChange::Details { values, .. } = change { Some(values) } else { None };
    values.into_iter().flatten()
}

impl AssetChange {
    /// The changes without what `alike` tells.
    pub fn besides(&self, alike: &[AlikeChange]) -> Vec<FieldChange> {
        let told = |field: &String, turn: &OldNew| {
            alike.iter().any(|one| one.field == *field && one.turn == *turn)
        };
        let rest = |change: &FieldChange| match change {
            FieldChange::Details { fields, values } => {
                let mut values = values.clone();
                values.retain(|field, turn| !told(field, turn));
                let fields =
                    fields.iter().filter(|field| values.contains_key(*field)).cloned().collect();
                (!values.is_empty()).then_some(FieldChange::Details { fields, values })
            }
            other => Some(other.clone()),
        };
        self.changes.iter().filter_map(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(number: u128, turns: &[(&str, &str, &str)]) -> AssetChange {
        let turn = |(field, from, to): &(&str, &str, &str)| {
            ((*field).to_owned(), OldNew { from: (*from).into(), to: (*to).into() })
        };
        let values: BTreeMap<String, OldNew> = turns.iter().map(turn).collect();
        let details = FieldChange::Details { fields: values.keys().cloned().collect(), values };
        let id = uuid::Uuid::from_u128(number);
        AssetChange {
            id,
            owner: "Ann".into(),
            name: "a".into(),
            path: None,
            changes: vec![details],
        }
    }

    #[test]
    fn what_many_photos_have_in_common_is_told_once_and_the_rest_of_each_stays() {
        let renamed = ("country", "United States of America", "United States");
        let mut assets: Vec<AssetChange> = (0..5).map(|number| asset(number, &[renamed])).collect();
        assets.push(asset(5, &[renamed, ("city", "Rome", "Roma")]));
        assets.extend(
            (6..10).map(|number| asset(number, &[("country", "Czech Republic", "Czechia")])),
        );
        let alike = find(&assets);
        assert_eq!(
            alike.iter().map(|alike| (alike.field.as_str(), alike.photos)).collect::<Vec<_>>(),
            [("country", 6)]
        );
        assert!(assets[0].besides(&alike).is_empty());
        assert!(
            matches!(&assets[5].besides(&alike)[..], [FieldChange::Details { fields, .. }] if *fields == ["city"])
        );
        assert_eq!(assets[6].besides(&alike), assets[6].changes, "four are few");
    }
}
