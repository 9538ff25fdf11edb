//! Regulated goods: what touches them needs a licence that is valid for tenant, region and category now.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::document::Term;
use super::{Finding, GateInput, Kind, Verdict};
use crate::terms::{Text, fold};

/// The incident's kind.
const INCIDENT: &str = "licence_missing";

/// What a judge names the categories in that it found.
const REGULATED: &str = "regulated";

#[derive(Debug, Deserialize)]
#[serde(try_from = "Document")]
pub(super) struct Licence {
    categories: BTreeMap<String, Category>,
    licences: Vec<Grant>,
    judges: Vec<String>,
    overridable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    categories: BTreeMap<String, Category>,
    #[serde(default)]
    licences: Vec<Grant>,
    #[serde(default)]
    judges: Vec<String>,
    #[serde(default)]
    overridable: bool,
}

/// Goods of a kind, by the words that tell of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    terms: Vec<Term>,
}

/// A licence. It is valid from the beginning of its first day to the end of its last one, in UTC.
#[derive(Debug, Deserialize)]
#[serde(try_from = "GrantDocument")]
struct Grant {
    number: String,
    tenant: String,
    region: String,
    category: String,
    from: NaiveDate,
    until: NaiveDate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantDocument {
    #[serde(default)]
    number: String,
    tenant: String,
    region: String,
    category: String,
    from: NaiveDate,
    until: NaiveDate,
}

impl TryFrom<GrantDocument> for Grant {
    type Error = String;

    fn try_from(document: GrantDocument) -> Result<Self, String> {
        let GrantDocument { number, tenant, region, category, from, until } = document;
        if from > until {
            return Err(format!("the licence `{number}` ends on {until}, before it begins on {from}"));
        }
        Ok(Self { number, tenant, region, category, from, until })
    }
}

impl TryFrom<Document> for Licence {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let Document { categories, licences, judges, overridable } = document;
        if categories.is_empty() {
            return Err("a licence gate needs categories".to_owned());
        }
        if let Some(bad) = categories.keys().find(|name| fold(name.trim()) != **name) {
            return Err(format!("the category `{bad}` is written in small letters without accents"));
        }
        match licences.iter().find(|grant| !categories.contains_key(&grant.category)) {
            Some(grant) => Err(format!("a licence is for `{}`, which is no category here", grant.category)),
            None => Ok(Self { categories, licences, judges, overridable }),
        }
    }
}

impl Grant {
    fn covers(&self, category: &str, input: &GateInput<'_>) -> bool {
        self.category == category && self.tenant == input.tenant && self.region == input.region
    }

    fn is_valid(&self, now: DateTime<Utc>) -> bool {
        (self.from..=self.until).contains(&now.date_naive())
    }

    fn shown(&self) -> Value {
        json!({ "number": self.number, "category": self.category, "from": self.from, "until": self.until })
    }
}

impl Kind for Licence {
    fn judge(&self, input: &GateInput<'_>) -> Finding {
        let mut touched = self.by_terms(input);
        let error = self.by_judges(input, &mut touched).err();
        let grants = |category: &str| {
            self.licences.iter().filter(|grant| grant.covers(category, input)).collect::<Vec<_>>()
        };
        let missing: Vec<String> = touched
            .iter()
            .filter(|(category, _)| !grants(category).iter().any(|grant| grant.is_valid(input.now)))
            .map(|(category, found)| format!("{category} ({})", join(found)))
            .collect();
        let held: Vec<Value> =
            touched.keys().flat_map(|category| grants(category)).map(Grant::shown).collect();
        let values =
            json!({ "touched": touched, "tenant": input.tenant, "region": input.region, "now": input.now });
        let verdict = if !missing.is_empty() {
            Verdict::Block { incident: INCIDENT, todo: todo(&missing, input) }
        } else if let Some(error) = error {
            Verdict::Errs(error)
        } else if input.content.is_none() {
            Verdict::Errs("there is no content to look at".to_owned())
        } else {
            Verdict::Pass
        };
        Finding::of(verdict, values, json!({ "licences": held }))
    }

    fn reads(&self) -> Vec<&str> {
        self.judges.iter().map(String::as_str).collect()
    }

    fn overridable(&self) -> bool {
        self.overridable
    }
}

impl Licence {
    /// Categories that the content's own words tell of.
    fn by_terms(&self, input: &GateInput<'_>) -> BTreeMap<String, BTreeSet<String>> {
        let Some(text) = input.content.map(Text::of) else { return BTreeMap::new() };
        let found = |category: &Category| -> BTreeSet<String> {
            let terms = category.terms.iter().filter(|term| text.term(&term.pattern).is_some());
            terms.map(|term| term.words.clone()).collect()
        };
        let touched = self.categories.iter().map(|(name, category)| (name.clone(), found(category)));
        touched.filter(|(_, found)| !found.is_empty()).collect()
    }

    /// Categories that a judge names. One that is not known here has no licence.
    fn by_judges(
        &self,
        input: &GateInput<'_>,
        touched: &mut BTreeMap<String, BTreeSet<String>>,
    ) -> Result<(), String> {
        let mut silent = Vec::new();
        for judge in &self.judges {
            let named = input.field(judge, REGULATED).and_then(|named| {
                let named = named.as_array().filter(|list| list.iter().all(Value::is_string));
                named.ok_or_else(|| format!("`{judge}.{REGULATED}` is no list of categories"))
            });
            match named {
                Ok(named) => {
                    for category in named.iter().filter_map(Value::as_str) {
                        let category = fold(category.trim()).chars().take(100).collect();
                        touched.entry(category).or_default().insert(format!("says {judge}"));
                    }
                }
                Err(error) => silent.push(error),
            }
        }
        if silent.is_empty() { Ok(()) } else { Err(silent.join(", ")) }
    }
}

fn todo(missing: &[String], input: &GateInput<'_>) -> String {
    format!(
        "This touches regulated goods: {}; tenant {} has no valid licence for them in region {}. Enter a licence and \
         approve, edit the content, or reject.",
        missing.join(", "),
        input.tenant,
        input.region
    )
}

fn join(found: &BTreeSet<String>) -> String {
    found.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, artifacts, at, block, content, errs, gate, input, ruling};
    use super::super::{GateInput, Ruling};
    use super::*;
    use crate::Basis;

    const GATE: &str = "licence: { categories: { firearms: { terms: [rifle, hand gun] }, alcohol: { terms: [gin] } },
      licences: [{ number: F-1, tenant: acme, region: de, category: firearms, from: 2026-01-01, until: 2026-06-30 }] }";

    #[test]
    fn regulated_goods_need_a_licence_of_this_tenant_region_category_and_day() {
        let gun = content("A fine Rífle for sale.");
        let here = input(&gun);
        let found = |input: &GateInput<'_>| ruling(GATE, input);
        assert_eq!(found(&here), Ruling::Pass);
        for (now, passes) in [
            ("2025-12-31T23:59:59Z", false),
            ("2026-01-01T00:00:00Z", true),
            ("2026-06-30T23:59:59Z", true),
            ("2026-07-01T00:00:00Z", false),
        ] {
            let ruling = found(&GateInput { now: at(now), ..here });
            assert_eq!(ruling == Ruling::Pass, passes, "{now}");
            assert!(passes || block(ruling) == "licence_missing");
        }
        assert_eq!(block(found(&GateInput { tenant: "other", ..here })), "licence_missing");
        assert_eq!(block(found(&GateInput { region: "us", ..here })), "licence_missing");
        let gin = content("Rifles, gin and a HAND\n gun");
        assert_eq!(block(found(&input(&gin))), "licence_missing", "a licence for firearms is none for gin");
        let plain = content("Trifles and engine oil, original");
        assert_eq!(found(&GateInput { tenant: "other", ..input(&plain) }), Ruling::Pass);
    }

    #[test]
    fn what_blocks_is_shown_and_nothing_lifts_it_but_an_override_that_the_document_allows() {
        let gun = content("rifle");
        let (approval, named) = ([answer(Basis::Person)], [answer(Basis::Override)]);
        let away = GateInput { region: "us", ..input(&gun) };
        let evaluation = gate(GATE).evaluate(&GateInput { answers: &named, ..away });
        assert_eq!(block(evaluation.ruling.clone()), "licence_missing");
        assert_eq!(evaluation.values["touched"], json!({ "firearms": ["rifle"] }));
        let Ruling::Block { todo, .. } = evaluation.ruling else { unreachable!() };
        assert!(todo.contains("firearms (rifle)") && todo.contains("region us"), "{todo}");
        let allowing = GATE.replace("licence: {", "licence: { overridable: true,");
        assert_eq!(ruling(&allowing, &GateInput { answers: &named, ..away }), Ruling::Pass);
        assert_eq!(block(ruling(&allowing, &GateInput { answers: &approval, ..away })), "licence_missing");
        let other = GateInput { answers: &named, subject: model::Sha256Digest([8; 32]), ..away };
        assert_eq!(block(ruling(&allowing, &other)), "licence_missing", "it is for other content");
    }

    #[test]
    fn a_judge_sees_what_words_do_not_and_its_silence_asks_a_person() {
        let judged = GATE.replace("licence: {", "licence: { judges: [judge],");
        let hint = content("It goes bang, and is made of steel.");
        let reported = |report: Value| artifacts(json!({ "judge": report }));
        let with = |report: &BTreeMap<String, Value>, region: &str| {
            gate(&judged).evaluate(&GateInput { artifacts: report, region, ..input(&hint) })
        };
        assert_eq!(with(&reported(json!({ "regulated": [] })), "us").ruling, Ruling::Pass);
        let firearms = reported(json!({ "regulated": ["Firearms"] }));
        assert_eq!(with(&firearms, "de").ruling, Ruling::Pass, "it is licensed");
        assert_eq!(block(with(&firearms, "us").ruling), "licence_missing");
        let other = reported(json!({ "regulated": ["fireworks"] }));
        assert_eq!(block(with(&other, "de").ruling), "licence_missing", "no licence can be for it");
        errs(&with(&reported(json!({})), "de"), "`judge.regulated` is absent");
        errs(&with(&reported(json!({ "regulated": "none" })), "de"), "no list");
        errs(&with(&BTreeMap::new(), "de"), "`judge` reported nothing");
        let gun = content("rifle");
        let silent = BTreeMap::new();
        let both = GateInput { artifacts: &silent, region: "us", ..input(&gun) };
        assert_eq!(block(gate(&judged).evaluate(&both).ruling), "licence_missing", "words are enough");
        errs(&gate(GATE).evaluate(&GateInput { content: None, ..input(&gun) }), "no content");
    }
}
